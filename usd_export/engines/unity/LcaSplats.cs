// The splats of an LCA .glb as graphics buffers, posed on the GPU every frame. Not run in an engine.
// A splat renderer of the project draws them: Positions, Rotations, Scales and Colours are what it needs.
using System;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;
using Newtonsoft.Json.Linq;
using UnityEngine;

namespace Lca
{
    /// <summary>Splats at rest as the file states them, in Unity's left-handed axes (x mirrored).</summary>
    public sealed class LcaSplatData
    {
        public Vector3[] Positions;
        public Vector4[] Rotations;
        public Vector3[] Scales;
        public Vector4[] Colours;
        public uint[] Influences;
        public string[] Joints;
        public Vector3[] JointPositions;

        const uint Magic = 0x46546C67, JsonChunk = 0x4E4F534A;
        const string Extension = "KHR_gaussian_splatting";

        /// <summary>Read the point primitive that carries KHR_gaussian_splatting.</summary>
        public static LcaSplatData Read(byte[] glb)
        {
            if (glb.Length < 20 || BitConverter.ToUInt32(glb, 0) != Magic || BitConverter.ToUInt32(glb, 16) != JsonChunk)
                throw new InvalidDataException("This is no binary glTF file.");
            int length = BitConverter.ToInt32(glb, 12);
            var document = JObject.Parse(Encoding.UTF8.GetString(glb, 20, length));
            int start = 20 + length + 8;
            foreach (var mesh in document["meshes"])
                foreach (var primitive in mesh["primitives"])
                    if (primitive["extensions"]?[Extension] != null)
                        return FromPrimitive(document, (JObject)primitive["attributes"], glb, start);
            throw new InvalidDataException("This glTF file holds no Gaussian splats.");
        }

        static LcaSplatData FromPrimitive(JObject document, JObject attributes, byte[] glb, int start)
        {
            float[] Floats(string name) => Array<float>(document, (int)attributes[name], glb, start);
            var p = Floats("POSITION");
            var q = Floats(Extension + ":ROTATION");
            var s = Floats(Extension + ":SCALE");
            var o = Floats(Extension + ":OPACITY");
            var c = Floats(Extension + ":SH_DEGREE_0_COEF_0");
            var joints = Array<byte>(document, (int)attributes["JOINTS_0"], glb, start);
            var weights = Array<byte>(document, (int)attributes["WEIGHTS_0"], glb, start);
            int count = o.Length;
            var data = new LcaSplatData
            {
                Positions = new Vector3[count],
                Rotations = new Vector4[count],
                Scales = new Vector3[count],
                Colours = new Vector4[count],
                Influences = new uint[2 * count],
            };
            for (int i = 0; i < count; i++)
            {
                data.Positions[i] = new Vector3(-p[3 * i], p[3 * i + 1], p[3 * i + 2]);
                data.Rotations[i] = new Vector4(q[4 * i], -q[4 * i + 1], -q[4 * i + 2], q[4 * i + 3]);
                data.Scales[i] = new Vector3(s[3 * i], s[3 * i + 1], s[3 * i + 2]);
                const float C0 = 0.28209479f;
                data.Colours[i] = new Vector4(0.5f + C0 * c[3 * i], 0.5f + C0 * c[3 * i + 1], 0.5f + C0 * c[3 * i + 2], o[i]);
                data.Influences[2 * i] = BitConverter.ToUInt32(joints, 4 * i);
                data.Influences[2 * i + 1] = BitConverter.ToUInt32(weights, 4 * i);
            }
            data.ReadJoints(document, glb, start);
            return data;
        }

        void ReadJoints(JObject document, byte[] glb, int start)
        {
            var skin = document["skins"][0];
            var inverse = Array<float>(document, (int)skin["inverseBindMatrices"], glb, start);
            var nodes = (JArray)skin["joints"];
            Joints = new string[nodes.Count];
            JointPositions = new Vector3[nodes.Count];
            for (int j = 0; j < nodes.Count; j++)
            {
                Joints[j] = (string)document["nodes"][(int)nodes[j]]["name"];
                // Joints stand along the world axes at rest, so the inverse bind matrix is a translation.
                int t = 16 * j + 12;
                JointPositions[j] = new Vector3(inverse[t], -inverse[t + 1], -inverse[t + 2]);
            }
        }

        static T[] Array<T>(JObject document, int accessor, byte[] glb, int start) where T : struct
        {
            var entry = document["accessors"][accessor];
            var view = document["bufferViews"][(int)entry["bufferView"]];
            int bytes = (int)view["byteLength"];
            int from = start + ((int?)view["byteOffset"] ?? 0);
            if (from < 0 || from + bytes > glb.Length)
                throw new InvalidDataException("The glTF file is cut off.");
            var values = new T[bytes / Marshal.SizeOf<T>()];
            Buffer.BlockCopy(glb, from, values, 0, bytes);
            return values;
        }
    }

    /// <summary>Holds the buffers and follows the bones of the imported skeleton.</summary>
    [ExecuteAlways]
    public sealed class LcaSplats : MonoBehaviour
    {
        public TextAsset Glb;
        public ComputeShader Skinning;
        public Transform Skeleton;

        public GraphicsBuffer Positions { get; private set; }
        public GraphicsBuffer Rotations { get; private set; }
        public GraphicsBuffer Scales { get; private set; }
        public GraphicsBuffer Colours { get; private set; }
        public int Count { get; private set; }

        GraphicsBuffer restPositions, restRotations, influences, jointMatrices, jointRotations;
        Transform[] bones;
        Matrix4x4[] bind, matrices;
        Vector4[] rotations;

        void OnEnable()
        {
            if (Glb == null || Skinning == null || Skeleton == null)
                return;
            var data = LcaSplatData.Read(Glb.bytes);
            Count = data.Positions.Length;
            restPositions = Fill(data.Positions, 12);
            restRotations = Fill(data.Rotations, 16);
            influences = Fill(data.Influences, 8, Count);
            Positions = Fill(data.Positions, 12);
            Rotations = Fill(data.Rotations, 16);
            Scales = Fill(data.Scales, 12);
            Colours = Fill(data.Colours, 16);
            int joints = data.Joints.Length;
            jointMatrices = new GraphicsBuffer(GraphicsBuffer.Target.Structured, joints, 64);
            jointRotations = new GraphicsBuffer(GraphicsBuffer.Target.Structured, joints, 16);
            bones = new Transform[joints];
            bind = new Matrix4x4[joints];
            matrices = new Matrix4x4[joints];
            rotations = new Vector4[joints];
            var all = Skeleton.GetComponentsInChildren<Transform>(true);
            for (int j = 0; j < joints; j++)
            {
                bones[j] = System.Array.Find(all, t => t.name == data.Joints[j]);
                if (bones[j] == null)
                    throw new InvalidOperationException("The skeleton has no joint " + data.Joints[j] + ".");
                bind[j] = Matrix4x4.Translate(-data.JointPositions[j]);
            }
        }

        static GraphicsBuffer Fill(System.Array values, int stride, int count = -1)
        {
            var buffer = new GraphicsBuffer(GraphicsBuffer.Target.Structured, count < 0 ? values.Length : count, stride);
            buffer.SetData(values);
            return buffer;
        }

        void LateUpdate()
        {
            if (bones == null)
                return;
            var toLocal = transform.worldToLocalMatrix;
            for (int j = 0; j < bones.Length; j++)
            {
                matrices[j] = toLocal * bones[j].localToWorldMatrix * bind[j];
                var q = matrices[j].rotation;
                rotations[j] = new Vector4(q.x, q.y, q.z, q.w);
            }
            jointMatrices.SetData(matrices);
            jointRotations.SetData(rotations);
            int kernel = Skinning.FindKernel("Skin");
            Skinning.SetInt("Count", Count);
            Skinning.SetBuffer(kernel, "RestPositions", restPositions);
            Skinning.SetBuffer(kernel, "RestRotations", restRotations);
            Skinning.SetBuffer(kernel, "Influences", influences);
            Skinning.SetBuffer(kernel, "JointMatrices", jointMatrices);
            Skinning.SetBuffer(kernel, "JointRotations", jointRotations);
            Skinning.SetBuffer(kernel, "Positions", Positions);
            Skinning.SetBuffer(kernel, "Rotations", Rotations);
            Skinning.Dispatch(kernel, (Count + 63) / 64, 1, 1);
        }

        void OnDisable()
        {
            foreach (var buffer in new[] { restPositions, restRotations, influences, jointMatrices, jointRotations, Positions, Rotations, Scales, Colours })
                buffer?.Dispose();
            bones = null;
        }
    }
}
