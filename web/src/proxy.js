// The proxy mesh in three.js: one vertex per pair of point and texture point, moved by the same deformer as the splats.
import { BufferAttribute, BufferGeometry, Mesh, MeshBasicMaterial, SRGBColorSpace, Texture } from "three";

export class ProxyView {
  constructor(deformer) {
    const { faces, st, faceSt, texture } = deformer.source;
    this.deformer = deformer;
    const known = new Map();
    this.corners = [];
    const uvs = [];
    const index = new Uint32Array(faces.length);
    for (let i = 0; i < faces.length; i++) {
      const t = faceSt ? faceSt[i] : i;
      const key = faces[i] * 4194304 + t;
      if (!known.has(key)) {
        known.set(key, this.corners.length);
        this.corners.push(faces[i]);
        uvs.push(st ? st[2 * t] : 0, st ? st[2 * t + 1] : 0);
      }
      index[i] = known.get(key);
    }
    this.places = new BufferAttribute(new Float32Array(3 * this.corners.length), 3);
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", this.places);
    geometry.setAttribute("uv", new BufferAttribute(new Float32Array(uvs), 2));
    geometry.setIndex(new BufferAttribute(index, 1));
    this.material = new MeshBasicMaterial({ color: texture ? 0xffffff : 0x9098a0 });
    this.mesh = new Mesh(geometry, this.material);
    this.mesh.frustumCulled = false;
    this.ready = texture ? this.#load(texture) : Promise.resolve();
    this.update();
  }

  async #load(bytes) {
    const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }), { imageOrientation: "flipY" });
    const map = new Texture(image);
    map.flipY = false;
    map.colorSpace = SRGBColorSpace;
    map.anisotropy = 4;
    map.needsUpdate = true;
    this.material.map = map;
    this.material.needsUpdate = true;
  }

  update() {
    const { points } = this.deformer;
    const out = this.places.array;
    for (let i = 0; i < this.corners.length; i++) {
      const from = 3 * this.corners[i];
      out[3 * i] = points[from];
      out[3 * i + 1] = points[from + 1];
      out[3 * i + 2] = points[from + 2];
    }
    this.places.needsUpdate = true;
  }
}
