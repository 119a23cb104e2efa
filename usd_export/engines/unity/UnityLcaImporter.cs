// Editor menu: makes a Humanoid avatar and checks the blend shapes of an LCA .glb that glTFast imported, and puts
// the splat component on it. Not run in an engine.
using System.Collections.Generic;
using System.IO;
using System.Linq;
using UnityEditor;
using UnityEngine;

namespace Lca.Editor
{
    public static class UnityLcaImporter
    {
        [MenuItem("Assets/LCA/Set up avatar")]
        static void SetUp()
        {
            string path = AssetDatabase.GetAssetPath(Selection.activeObject);
            var model = AssetDatabase.LoadAssetAtPath<GameObject>(path);
            if (model == null || !path.EndsWith(".glb"))
            {
                EditorUtility.DisplayDialog("LCA", "Select an LCA .glb in the Project window (it needs glTFast).", "OK");
                return;
            }
            var person = (GameObject)PrefabUtility.InstantiatePrefab(model);
            var description = Describe(person);
            var avatar = AvatarBuilder.BuildHumanAvatar(person, description);
            avatar.name = person.name;
            if (!avatar.isValid)
                Debug.LogError("Unity did not accept the Humanoid mapping of " + path);
            AssetDatabase.CreateAsset(avatar, Path.ChangeExtension(path, "avatar.asset"));
            var animator = person.GetComponent<Animator>();
            if (animator == null)
                animator = person.AddComponent<Animator>();
            animator.avatar = avatar;
            ReportShapes(person, path);
            AddSplats(person, path);
        }

        /// <summary>Human bones from the generated table; every transform at its rest pose.</summary>
        public static HumanDescription Describe(GameObject person)
        {
            var transforms = person.GetComponentsInChildren<Transform>(true);
            var present = new HashSet<string>(transforms.Select(t => t.name));
            return new HumanDescription
            {
                human = LcaHumanoid.HumanBones
                    .Where(pair => present.Contains(pair.Key))
                    .Select(pair => new HumanBone
                    {
                        boneName = pair.Key,
                        humanName = pair.Value,
                        limit = new HumanLimit { useDefaultValues = true },
                    })
                    .ToArray(),
                skeleton = transforms
                    .Select(t => new SkeletonBone
                    {
                        name = t.name,
                        position = t.localPosition,
                        rotation = t.localRotation,
                        scale = t.localScale,
                    })
                    .ToArray(),
                upperArmTwist = 0.5f,
                lowerArmTwist = 0.5f,
                upperLegTwist = 0.5f,
                lowerLegTwist = 0.5f,
                armStretch = 0.05f,
                legStretch = 0.05f,
            };
        }

        static void ReportShapes(GameObject person, string path)
        {
            var mesh = person.GetComponentInChildren<SkinnedMeshRenderer>().sharedMesh;
            var missing = LcaHumanoid.ArkitShapes.Where(name => mesh.GetBlendShapeIndex(name) < 0).ToArray();
            if (missing.Length > 0)
                Debug.LogWarning(path + " lacks blend shapes: " + string.Join(", ", missing));
        }

        static void AddSplats(GameObject person, string path)
        {
            // A TextAsset carries raw bytes only under the ending .bytes.
            string bytes = Path.ChangeExtension(path, "splats.bytes");
            File.Copy(path, bytes, true);
            AssetDatabase.ImportAsset(bytes);
            var splats = person.AddComponent<LcaSplats>();
            splats.Glb = AssetDatabase.LoadAssetAtPath<TextAsset>(bytes);
            splats.Skeleton = person.transform;
            string shader = AssetDatabase.FindAssets("LcaSkinning t:ComputeShader").FirstOrDefault();
            if (shader != null)
                splats.Skinning = AssetDatabase.LoadAssetAtPath<ComputeShader>(AssetDatabase.GUIDToAssetPath(shader));
        }
    }
}
