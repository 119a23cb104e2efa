// Posed splats to Spark: a deformer's arrays are written straight into Spark's 32-byte splats (float positions), so no
// skinning of Spark's own is involved. Colours: display sRGB, 0.5 + C0 * band 0 plus the view-dependent bands.
import { ExtSplats, SplatMesh, utils } from "@sparkjsdev/spark";
import { DataUtils, Vector3 } from "three";

const C0 = 0.28209479177387814;
const half = (x) => DataUtils.toHalfFloat(x);

export class SplatView {
  constructor(deformer) {
    this.deformer = deformer;
    const { maxSplats } = utils.getTextureSize(deformer.count);
    this.arrays = [new Uint32Array(4 * maxSplats), new Uint32Array(4 * maxSplats)];
    this.floats = new Float32Array(this.arrays[0].buffer);
    this.splats = new ExtSplats({ extArrays: this.arrays, numSplats: deformer.count });
    this.mesh = new SplatMesh({ extSplats: this.splats });
    const { opacities } = deformer.source;
    for (let i = 0; i < deformer.count; i++) this.arrays[0][4 * i + 3] = half(opacities[i]);
    this.#scales();
    this.update(true, new Vector3());
  }

  get viewDependent() {
    return this.deformer.source.degree > 0;
  }

  /** Take over the deformer's state; `shaped` says that scales and colours changed too. `eye`: camera position. */
  update(shaped, eye) {
    const { points, quats, count } = this.deformer;
    const [, b] = this.arrays;
    if (shaped) this.#scales();
    if (shaped || this.viewDependent) this.#colours(eye);
    for (let i = 0; i < count; i++) {
      this.floats[4 * i] = points[3 * i];
      this.floats[4 * i + 1] = points[3 * i + 1];
      this.floats[4 * i + 2] = points[3 * i + 2];
      const q = 4 * i;
      b[q + 3] = utils.encodeQuatOctXy1010R12(quats[q], quats[q + 1], quats[q + 2], quats[q + 3]);
    }
    for (const texture of this.splats.textures) texture.needsUpdate = true;
    this.mesh.updateVersion();
  }

  #scales() {
    const { scales, count } = this.deformer;
    const [, b] = this.arrays;
    for (let i = 0; i < count; i++) {
      b[4 * i + 1] = (b[4 * i + 1] & 0xffff) | (half(Math.log(scales[3 * i])) << 16);
      b[4 * i + 2] = half(Math.log(scales[3 * i + 1])) | (half(Math.log(scales[3 * i + 2])) << 16);
    }
  }

  #colours(eye) {
    const { count, dc } = this.deformer;
    const [, b] = this.arrays;
    const rgb = [0, 0, 0];
    for (let i = 0; i < count; i++) {
      for (let c = 0; c < 3; c++) rgb[c] = 0.5 + C0 * dc[3 * i + c];
      if (this.viewDependent) this.#bands(i, eye, rgb);
      for (let c = 0; c < 3; c++) rgb[c] = Math.max(0, rgb[c]);
      b[4 * i] = half(rgb[0]) | (half(rgb[1]) << 16);
      b[4 * i + 1] = (b[4 * i + 1] & 0xffff0000) | half(rgb[2]);
    }
  }

  /** Bands 1..3 (3DGS basis) seen from `eye`; the view direction is turned back into the splat's rest frame. */
  #bands(i, eye, rgb) {
    const { points, turns, source, stride } = this.deformer;
    const d = new Vector3(points[3 * i] - eye.x, points[3 * i + 1] - eye.y, points[3 * i + 2] - eye.z).normalize();
    const o = 4 * i;
    const qx = -turns[o];
    const qy = -turns[o + 1];
    const qz = -turns[o + 2];
    const qw = turns[o + 3] || (qx || qy || qz ? 0 : 1);
    d.applyQuaternion({ x: qx, y: qy, z: qz, w: qw });
    const basis = harmonics(d.x, d.y, d.z, source.degree);
    for (let k = 0; k < basis.length; k++) {
      for (let c = 0; c < 3; c++) rgb[c] += basis[k] * source.sh[stride * i + 3 * (k + 1) + c];
    }
  }
}

/** Real spherical harmonics of bands 1..degree in the 3DGS order and signs, for a unit direction. */
export function harmonics(x, y, z, degree) {
  const out = [];
  if (degree > 0) out.push(-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x);
  const [xx, yy, zz] = [x * x, y * y, z * z];
  if (degree > 1) {
    out.push(
      1.0925484305920792 * x * y,
      -1.0925484305920792 * y * z,
      0.31539156525252005 * (2 * zz - xx - yy),
      -1.0925484305920792 * x * z,
      0.5462742152960396 * (xx - yy),
    );
  }
  if (degree > 2) {
    out.push(
      -0.5900435899266435 * y * (3 * xx - yy),
      2.890611442640554 * x * y * z,
      -0.4570457994644658 * y * (4 * zz - xx - yy),
      0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
      -0.4570457994644658 * x * (4 * zz - xx - yy),
      1.445305721320277 * z * (xx - yy),
      -0.5900435899266435 * x * (xx - 3 * yy),
    );
  }
  return out;
}
