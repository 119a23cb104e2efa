// From USD specs to one plain avatar: skeleton, animation, splats, proxy mesh, shapes, controls. Everything is named
// as in the exported stage (/Avatar/...); quaternions are x, y, z, w as crates store them; metres, Y up.
import { readLayers } from "./crate.js";

const ROOT = "/Avatar";

/** Bytes of an exported .usdz or .usdc -> avatar; throws an Error that says why a file cannot be shown. */
export function readAvatar(bytes) {
  const { layers, files } = readLayers(bytes);
  const specs = (path) => layers.map((layer) => layer[path]).filter(Boolean);
  const field = (path, name) => specs(path).map((spec) => spec.fields[name]).find((value) => value !== undefined);
  const value = (path, attribute) => field(`${path}.${attribute}`, "default");
  const either = (path, attribute) => value(path, attribute) ?? value(path, `${attribute}h`);
  const samples = (path, attribute) => field(`${path}.${attribute}`, "timeSamples");

  const joints = value(`${ROOT}/Rig/Skeleton`, "joints");
  if (!joints) throw new Error("This USD file holds no LCA avatar (no /Avatar/Rig/Skeleton).");
  const skeletonPath = `${ROOT}/Rig/Skeleton`;
  const skeleton = {
    names: joints.map((path) => path.slice(path.lastIndexOf("/") + 1)),
    parents: joints.map((path) => joints.indexOf(path.slice(0, Math.max(0, path.lastIndexOf("/"))))),
    bind: value(skeletonPath, "bindTransforms"),
    rest: value(skeletonPath, "restTransforms"),
    curl: value(skeletonPath, "lca:curlDegrees"),
    spread: value(skeletonPath, "lca:spreadDegrees"),
  };
  if (skeleton.bind?.length !== joints.length * 16) throw new Error("The skeleton has no bind pose.");

  const animationPath = `${ROOT}/Rig/Anim`;
  const channel = (name) => samples(animationPath, name)?.values ?? [value(animationPath, name)];
  const animation = {
    fps: field("/", "timeCodesPerSecond") ?? 24,
    shapes: value(animationPath, "blendShapes") ?? [],
    rotations: channel("rotations"),
    translations: channel("translations"),
    weights: channel("blendShapeWeights"),
  };

  const shapesOf = (path) => {
    const names = value(path, "skel:blendShapes") ?? [];
    const targets = field(`${path}.skel:blendShapeTargets`, "targetPaths") ?? [];
    return names.map((name, i) => ({
      name,
      index: value(targets[i], "pointIndices"),
      offsets: value(targets[i], "offsets"),
      quats: value(targets[i], "lca:orientationOffsets"),
      logScales: value(targets[i], "lca:scaleOffsets"),
      dc: value(targets[i], "lca:dcOffsets"),
    }));
  };
  const skinOf = (path) => ({
    jointIndices: value(path, "primvars:skel:jointIndices"),
    jointWeights: value(path, "primvars:skel:jointWeights"),
    shapes: shapesOf(path),
  });

  const body = `${ROOT}/Geom/Splats/body`;
  const positions = either(body, "positions");
  const splats = positions && {
    positions,
    quats: either(body, "orientations"),
    scales: either(body, "scales"),
    opacities: either(body, "opacities"),
    sh: either(body, "radiance:sphericalHarmonicsCoefficients"),
    degree: value(body, "radiance:sphericalHarmonicsDegree") ?? 3,
    ...skinOf(body),
  };
  if (splats) checkSplats(splats);

  const proxy = `${ROOT}/Geom/Proxy`;
  const points = value(proxy, "points");
  const mesh = points && {
    points,
    faces: value(proxy, "faceVertexIndices"),
    st: value(proxy, "primvars:st"),
    faceSt: value(proxy, "primvars:st:indices"),
    texture: picture(files, value(`${ROOT}/Looks/ProxyMaterial/Texture`, "inputs:file")),
    ...skinOf(proxy),
  };
  if (!splats && !mesh) throw new Error("This USD file holds neither splats nor a proxy mesh.");
  return { name: field("/", "customLayerData")?.lca?.name, skeleton, animation, splats, mesh, controls: controls(), pose: poseMap() };

  function controls() {
    const path = `${ROOT}/Rig/Controls`;
    return (field(path, "properties") ?? [])
      .filter((name) => name.startsWith("rig:"))
      .map((name) => {
        const read = (key) => field(`${path}.${name}`, key);
        const soft = read("limits")?.soft ?? {};
        return {
          name,
          label: read("displayName") ?? name,
          group: read("displayGroup") ?? "Rig",
          min: soft.minimum ?? 0,
          max: soft.maximum ?? 1,
          value: read("default") ?? 0,
          drives: read("customData")?.lca?.drives ?? "",
        };
      });
  }

  function poseMap() {
    const path = `${ROOT}/Rig/Controls`;
    const basis = value(path, "lca:pose:basis");
    return basis && { basis, mean: value(path, "lca:pose:mean"), shapes: value(path, "lca:pose:shapes") };
  }
}

function checkSplats(s) {
  const n = s.positions.length / 3;
  const wanted = { quats: 4, scales: 3, opacities: 1, jointIndices: 4, jointWeights: 4, sh: 3 * (s.degree + 1) ** 2 };
  for (const [name, width] of Object.entries(wanted)) {
    if (s[name]?.length !== n * width) {
      throw new Error(`The splats are damaged: ${name} has ${s[name]?.length ?? 0} numbers, not ${n * width}.`);
    }
  }
}

function picture(files, path) {
  const name = path?.replace(/^\.\//, "");
  return name === undefined ? undefined : files.get(name);
}
