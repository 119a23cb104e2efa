// The viewer without its panel: scene, camera, one avatar, playing or posed. Everything the panel and the tests do goes
// through the methods here.
import { SparkRenderer } from "@sparkjsdev/spark";
import { Color, Matrix4, PerspectiveCamera, Scene, SRGBColorSpace, Vector3, WebGLRenderer } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { ProxyView } from "./proxy.js";
import { applyControl, Deformer, Pose, poseWeights, sampleAnimation, skinningTransforms } from "./rig.js";
import { SplatView } from "./splats.js";

const FOV = 24;
const BACKGROUND = [0.62, 0.63, 0.65];

export class Viewer {
  constructor(canvas, avatar) {
    this.avatar = avatar;
    this.renderer = new WebGLRenderer({ canvas, antialias: false, preserveDrawingBuffer: true });
    this.renderer.setClearColor(new Color().setRGB(...BACKGROUND, SRGBColorSpace));
    this.scene = new Scene();
    this.camera = new PerspectiveCamera(FOV, 1, 0.05, 100);
    this.spark = new SparkRenderer({
      renderer: this.renderer,
      accumExtSplats: true,
      sortRadial: false,
      preBlurAmount: 0.3,
      blurAmount: 0,
      maxStdDev: 3.33,
      minAlpha: 1 / 255,
    });
    this.scene.add(this.spark);
    this.splats = avatar.splats && new SplatView(new Deformer(avatar.splats));
    this.proxy = avatar.mesh && new ProxyView(new Deformer(avatar.mesh));
    for (const view of [this.splats, this.proxy]) if (view) this.scene.add(view.mesh);
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enableDamping = true;
    this.controls.addEventListener("change", () => {
      this.dirty = true;
    });
    this.sliders = {};
    this.time = 0;
    this.playing = this.frames > 1;
    this.show(this.splats ? "splats" : "mesh");
    this.frameAll();
  }

  /** Frames of the file's own animation. */
  get frames() {
    return this.avatar.animation.rotations.length;
  }

  /** "splats" or "mesh". */
  show(what) {
    this.shown = what === "mesh" && this.proxy ? "mesh" : this.splats ? "splats" : "mesh";
    // Spark keeps drawing its last sorted set, so its own switch is the one that hides splats.
    this.spark.visible = this.shown === "splats";
    if (this.splats) this.splats.mesh.visible = this.shown === "splats";
    if (this.proxy) this.proxy.mesh.visible = this.shown === "mesh";
    this.stale = "shape";
  }

  /** Move sliders: { "rig:face:jawOpen": 0.8, ... }; they add to what the animation does. */
  setControls(values) {
    Object.assign(this.sliders, values);
    this.stale = "shape";
  }

  /** Go to an animation frame, fractional. */
  seek(frame) {
    this.time = frame / this.avatar.animation.fps;
    this.stale = "shape";
  }

  /** Bring the shown object to the current frame and sliders. */
  evaluate() {
    const { avatar } = this;
    const pose = Object.assign(new Pose(avatar), sampleAnimation(avatar.animation, this.time * avatar.animation.fps));
    const weights = { ...pose.weights };
    for (const control of avatar.controls) {
      const value = this.sliders[control.name] ?? 0;
      if (!value) continue;
      if (control.drives.startsWith("blendShapes:")) {
        const name = control.drives.slice(12);
        weights[name] = Math.min(1, (weights[name] ?? 0) + value);
      } else applyControl(avatar.skeleton, pose, control, value);
    }
    if (avatar.pose) Object.assign(weights, poseWeights(avatar.pose, pose.rotations));
    this.transforms = skinningTransforms(avatar.skeleton, pose.rotations, pose.translations);
    const view = this.shown === "splats" ? this.splats : this.proxy;
    const key = `${this.shown} ${Object.values(weights).map((w) => w.toFixed(5))}`;
    const reshaped = key !== this.shapedAs;
    if (reshaped) view.deformer.shape(weights);
    this.shapedAs = key;
    view.deformer.skin(this.transforms);
    view.update(reshaped, this.camera.position);
    this.stale = null;
    this.dirty = true;
  }

  /** Put the whole figure into view, from the front. */
  frameAll() {
    this.evaluate();
    const { points } = (this.shown === "splats" ? this.splats : this.proxy).deformer;
    const low = [Infinity, Infinity, Infinity];
    const high = low.map((x) => -x);
    for (let i = 0; i < points.length; i++) {
      low[i % 3] = Math.min(low[i % 3], points[i]);
      high[i % 3] = Math.max(high[i % 3], points[i]);
    }
    const middle = low.map((x, i) => 0.5 * (x + high[i]));
    const extent = Math.max(high[1] - low[1], (high[0] - low[0]) / Math.max(this.camera.aspect, 0.6));
    const distance = (0.56 * extent) / Math.tan((FOV * Math.PI) / 360);
    this.look([middle[0], middle[1] + 0.05 * extent, middle[2] + distance], middle);
  }

  /** Close-up of the face. */
  frameHead() {
    const eye = this.avatar.skeleton.names.indexOf("head");
    const at = new Vector3().setFromMatrixPosition(this.transforms.world[Math.max(eye, 0)]);
    this.look([at.x + 0.12, at.y + 0.08, at.z + 1.15], [at.x, at.y + 0.07, at.z]);
  }

  look(eye, target) {
    this.camera.position.set(...eye);
    this.controls.target.set(...target);
    this.camera.up.set(0, 1, 0);
    this.camera.lookAt(...target);
    this.controls.update();
    this.dirty = true;
  }

  resize(width, height, ratio = 1) {
    this.renderer.setPixelRatio(ratio);
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.dirty = true;
  }

  /** One step of the loop. */
  tick(seconds) {
    this.controls.update();
    if (this.playing && this.frames > 1) {
      this.time = (this.time + seconds) % (this.frames / this.avatar.animation.fps);
      this.stale = "pose";
    }
    if (this.stale || (this.dirty && this.splats?.viewDependent)) this.evaluate();
    this.renderer.render(this.scene, this.camera);
    this.dirty = false;
  }

  /**
   * The current state as a picture, settled (splats sorted for this view), PNG data URL.
   * { viewmat: 16 numbers row-major, OpenCV world-to-camera; fovY: degrees; width, height; background: display RGB }.
   */
  async snapshot({ viewmat, fovY, width, height, background = BACKGROUND }) {
    this.resize(width, height);
    this.renderer.setClearColor(new Color().setRGB(...background, SRGBColorSpace));
    const toCv = new Matrix4().set(...viewmat);
    const flip = new Matrix4().makeScale(1, -1, -1);
    const world = toCv.invert().multiply(flip);
    world.decompose(this.camera.position, this.camera.quaternion, this.camera.scale);
    this.camera.fov = fovY;
    this.camera.updateProjectionMatrix();
    this.camera.updateMatrixWorld(true);
    this.evaluate();
    if (this.proxy) await this.proxy.ready;
    if (this.shown === "splats") await this.#settle();
    this.renderer.render(this.scene, this.camera);
    return this.renderer.domElement.toDataURL("image/png");
  }

  /** Wait until Spark has sorted what is shown now. Two rounds: the first may still be in flight for an older state. */
  async #settle() {
    await this.splats.mesh.initialized;
    this.spark.autoUpdate = false;
    for (let round = 0; round < 2; round++) {
      while (this.spark.sorting) await new Promise((resolve) => setTimeout(resolve, 5));
      this.splats.mesh.updateVersion();
      await this.spark.update({ scene: this.scene, camera: this.camera });
      while (this.spark.sorting) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    this.spark.autoUpdate = true;
  }
}
