// The deformation contract of the asset, on the CPU: joint matrices, shapes, linear blend skinning of positions and
// the blended rotation of orientations (docs/avatar-file.md, "The baked rig"). Plain arrays in and out, no WebGL.
import { Euler, Matrix4, Quaternion, Vector3 } from "three";

/** One pose: local rotations (J*4, x y z w), local translations (J*3) in metres, weights by shape name. */
export class Pose {
  constructor(asset) {
    const frame = sampleAnimation(asset.animation, 0);
    this.rotations = frame.rotations;
    this.translations = frame.translations;
    this.weights = frame.weights;
  }
}

/** Frame `at` (fractional, wraps round) of an animation -> { rotations, translations, weights }. */
export function sampleAnimation(animation, at) {
  const count = animation.rotations.length;
  const a = ((Math.floor(at) % count) + count) % count;
  const b = (a + 1) % count;
  const t = count === 1 || b === 0 ? 0 : at - Math.floor(at);
  const mix = (channel) => {
    const from = channel[Math.min(a, channel.length - 1)];
    const to = channel[Math.min(b, channel.length - 1)];
    return Float64Array.from(from, (x, i) => x + (to[i] - x) * t);
  };
  // Consecutive samples lie in one hemisphere (the exporter sees to it), so mixing and normalising is enough.
  const rotations = mix(animation.rotations);
  for (let i = 0; i < rotations.length; i += 4) {
    const length = Math.hypot(rotations[i], rotations[i + 1], rotations[i + 2], rotations[i + 3]);
    for (let c = 0; c < 4; c++) rotations[i + c] /= length;
  }
  const values = mix(animation.weights);
  const weights = Object.fromEntries(animation.shapes.map((name, i) => [name, values[i]]));
  return { rotations, translations: mix(animation.translations), weights };
}

/** Skinning matrices of a pose: { matrices: J*12 row-major 3x4, quats: J*4 } with x' = A_j x. */
export function skinningTransforms(skeleton, rotations, translations) {
  const count = skeleton.names.length;
  const world = [];
  const matrices = new Float64Array(count * 12);
  const quats = new Float64Array(count * 4);
  const one = new Vector3(1, 1, 1);
  for (let j = 0; j < count; j++) {
    const local = new Matrix4().compose(
      new Vector3().fromArray(translations, 3 * j),
      new Quaternion().fromArray(rotations, 4 * j),
      one,
    );
    world[j] = skeleton.parents[j] < 0 ? local : world[skeleton.parents[j]].clone().multiply(local);
    // A USD matrix is row-vector, row-major: the same 16 numbers as a column-vector, column-major one.
    const skin = world[j].clone().multiply(new Matrix4().fromArray(skeleton.bind, 16 * j).invert());
    const e = skin.elements;
    for (let r = 0; r < 3; r++) for (let c = 0; c < 4; c++) matrices[12 * j + 4 * r + c] = e[4 * c + r];
    new Quaternion().setFromRotationMatrix(skin).toArray(quats, 4 * j);
  }
  return { matrices, quats, world };
}

/** Weights of the pose shapes: c = basis (R - 1 - mean), R the local rotations of joints 1.. row-major. */
export function poseWeights(map, rotations) {
  const feature = new Float64Array(map.mean.length);
  const matrix = new Matrix4();
  for (let j = 1; 9 * j <= feature.length; j++) {
    const e = matrix.makeRotationFromQuaternion(new Quaternion().fromArray(rotations, 4 * j)).elements;
    for (let r = 0; r < 3; r++)
      for (let c = 0; c < 3; c++) {
        const i = 9 * (j - 1) + 3 * r + c;
        feature[i] = e[4 * c + r] - (r === c ? 1 : 0) - map.mean[i];
      }
  }
  return Object.fromEntries(
    map.shapes.map((name, k) => {
      let sum = 0;
      for (let i = 0; i < feature.length; i++) sum += map.basis[k * feature.length + i] * feature[i];
      return [name, sum];
    }),
  );
}

/**
 * Something skinned: points, and for splats also orientations, scales and colours. `shape(weights)` rebuilds the rest
 * state, `skin(transforms)` the posed one; results stay in `points`, `quats`, `scales`, `dc`.
 */
export class Deformer {
  constructor(source) {
    this.source = source;
    this.count = (source.positions ?? source.points).length / 3;
    this.restPoints = Float32Array.from(source.positions ?? source.points);
    this.points = this.restPoints.slice();
    this.isSplats = source.positions !== undefined;
    if (this.isSplats) {
      this.restQuats = Float32Array.from(source.quats);
      this.turns = new Float32Array(4 * this.count);
      this.quats = this.restQuats.slice();
      this.scales = Float32Array.from(source.scales);
      this.stride = source.sh.length / this.count;
      this.dc = new Float32Array(3 * this.count);
    }
    this.shape({});
  }

  /** Shapes at rest. Offsets add to positions, quaternions (then normalised), log scales and SH band 0. */
  shape(weights) {
    const s = this.source;
    this.restPoints.set(s.positions ?? s.points);
    const active = s.shapes.filter((shape) => shape.index && Math.abs(weights[shape.name] ?? 0) > 1e-9);
    for (const shape of active) scatter(this.restPoints, shape.index, shape.offsets, weights[shape.name], 3);
    if (!this.isSplats) return;
    this.restQuats.set(s.quats);
    const logs = active.some((shape) => shape.logScales) ? new Float32Array(3 * this.count) : null;
    for (let i = 0; i < this.count; i++) for (let c = 0; c < 3; c++) this.dc[3 * i + c] = s.sh[this.stride * i + c];
    for (const shape of active) {
      const w = weights[shape.name];
      if (shape.quats) scatter(this.restQuats, shape.index, shape.quats, w, 4);
      if (shape.dc) scatter(this.dc, shape.index, shape.dc, w, 3);
      if (shape.logScales) scatter(logs, shape.index, shape.logScales, w, 3);
    }
    for (let i = 0; i < this.scales.length; i++) {
      this.scales[i] = logs && logs[i] !== 0 ? s.scales[i] * Math.exp(logs[i]) : s.scales[i];
    }
    const q = this.restQuats;
    for (let i = 0; i < q.length; i += 4) {
      const k = 1 / Math.hypot(q[i], q[i + 1], q[i + 2], q[i + 3]);
      q[i] *= k;
      q[i + 1] *= k;
      q[i + 2] *= k;
      q[i + 3] *= k;
    }
  }

  /** Linear blend skinning with 4 influences, heaviest first; q' = normalise(sum_j w_j s_j q_j) q. */
  skin({ matrices: m, quats: jq }) {
    const { jointIndices: index, jointWeights: weight } = this.source;
    const { restPoints: p, points: out } = this;
    for (let i = 0; i < this.count; i++) {
      const x = p[3 * i];
      const y = p[3 * i + 1];
      const z = p[3 * i + 2];
      let ox = 0;
      let oy = 0;
      let oz = 0;
      for (let k = 4 * i; k < 4 * i + 4; k++) {
        const w = weight[k];
        if (w === 0) continue;
        const o = 12 * index[k];
        ox += w * (m[o] * x + m[o + 1] * y + m[o + 2] * z + m[o + 3]);
        oy += w * (m[o + 4] * x + m[o + 5] * y + m[o + 6] * z + m[o + 7]);
        oz += w * (m[o + 8] * x + m[o + 9] * y + m[o + 10] * z + m[o + 11]);
      }
      out[3 * i] = ox;
      out[3 * i + 1] = oy;
      out[3 * i + 2] = oz;
    }
    if (this.isSplats) this.#turn(index, weight, jq);
  }

  #turn(index, weight, jq) {
    const { restQuats: r, quats: out, turns } = this;
    for (let i = 0; i < this.count; i++) {
      const h = 4 * index[4 * i];
      let x = 0;
      let y = 0;
      let z = 0;
      let w = 0;
      for (let k = 4 * i; k < 4 * i + 4; k++) {
        if (weight[k] === 0) continue;
        const o = 4 * index[k];
        const dot = jq[o] * jq[h] + jq[o + 1] * jq[h + 1] + jq[o + 2] * jq[h + 2] + jq[o + 3] * jq[h + 3];
        const s = dot < 0 ? -weight[k] : weight[k];
        x += s * jq[o];
        y += s * jq[o + 1];
        z += s * jq[o + 2];
        w += s * jq[o + 3];
      }
      const n = 1 / Math.hypot(x, y, z, w);
      x *= n;
      y *= n;
      z *= n;
      w *= n;
      const o = 4 * i;
      const [bx, by, bz, bw] = [r[o], r[o + 1], r[o + 2], r[o + 3]];
      turns[o] = x;
      turns[o + 1] = y;
      turns[o + 2] = z;
      turns[o + 3] = w;
      out[o] = w * bx + x * bw + y * bz - z * by;
      out[o + 1] = w * by - x * bz + y * bw + z * bx;
      out[o + 2] = w * bz + x * by - y * bx + z * bw;
      out[o + 3] = w * bw - x * bx - y * by - z * bz;
    }
  }
}

function scatter(target, index, rows, weight, width) {
  for (let s = 0; s < index.length; s++) {
    const to = width * index[s];
    for (let c = 0; c < width; c++) target[to + c] += weight * rows[width * s + c];
  }
}

/**
 * The finger and gaze sliders: turn the joints that a control drives. `pose.rotations` is changed in place.
 * Curl and spread use the rotation vectors (degrees at slider 1) that the skeleton prim states.
 */
export function applyControl(skeleton, pose, control, value) {
  if (!value || !control.drives.startsWith("joints:")) return;
  const [, kind, name] = control.name.split(":");
  for (const joint of control.drives.slice(7).split(",")) {
    const j = skeleton.names.indexOf(joint);
    if (j < 0) continue;
    const turn = new Quaternion();
    if (kind === "gaze") {
      const angle = name.includes("yaw") ? [0, value, 0] : [value, 0, 0];
      turn.setFromEuler(new Euler(...angle));
    } else {
      const table = name.startsWith("spread") ? skeleton.spread : skeleton.curl;
      if (!table) continue;
      const vector = new Vector3().fromArray(table, 3 * j).multiplyScalar((value * Math.PI) / 180);
      turn.setFromAxisAngle(vector.clone().normalize(), vector.length());
    }
    const own = new Quaternion().fromArray(pose.rotations, 4 * j);
    own.multiply(turn).toArray(pose.rotations, 4 * j);
  }
}
