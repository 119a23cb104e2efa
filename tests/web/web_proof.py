"""The proof that a browser shows what we render: poses of one avatar through the exported USD file, three.js
and Spark, against our own renderer with the same camera. By hand on any avatar:
`python tests/web/web_proof.py AVATAR.lca FOLDER` writes the pictures and prints the numbers.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lca.hand_poses import HAND_POSES
from lca_bridge.web import page
from lca_core.avatar import Avatar
from lca_core.avatar.animate import Animator
from lca_core.avatar.frame import PoseFrame
from lca_core.avatar.pictures import FOV_DEGREES, STANDING, View, body_view, head_view
from lca_core.body.hand_pose import hand_rotations
from lca_core.splat import render

SIZE = 512
BLACK, WHITE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Shot:
    """One frame to compare: what it is called, the pose, the camera."""

    name: str
    frame: PoseFrame
    view: View


@dataclass(frozen=True)
class Score:
    """Agreement of two pictures: silhouette IoU (alpha > 0.5), PSNR in dB where either has alpha > 0.5."""

    iou: float
    psnr: float


def shots(animator: Animator) -> list[Shot]:
    """Two poses (one with fists and bent limbs) and one expression."""
    fists = {
        **hand_rotations("left", HAND_POSES["Fist"].curl),
        **hand_rotations("right", dict.fromkeys(("index", "middle", "ring", "pinky"), 0.5)),
    }
    stride = {
        "left_hip": (-0.6, 0.0, 0.0), "left_knee": (0.8, 0.0, 0.0), "right_hip": (0.35, 0.0, 0.0),
        "left_shoulder": (0.0, -0.5, -0.7), "right_shoulder": (0.0, 0.4, 0.9), "left_elbow": (0.0, -1.0, 0.0),
        "spine2": (0.0, 0.3, 0.0), "head": (0.1, 0.3, 0.0), **fists,
    }  # fmt: skip
    face = {
        "jawOpen": 0.7,
        "mouthSmileLeft": 0.8,
        "mouthSmileRight": 0.8,
        "eyeBlinkLeft": 1.0,
        "browInnerUp": 1.0,
    }
    poses = [
        ("standing", PoseFrame.posed(STANDING), None, 0.4),
        ("stride", PoseFrame.posed(stride), None, -0.7),
        ("expression", PoseFrame.posed(STANDING, face, (0.3, 0.1)), "head", 0.2),
    ]
    found = []
    for name, frame, close, yaw in poses:
        view = head_view(animator, frame, yaw, SIZE) if close else body_view(animator, frame, yaw, SIZE, SIZE)
        found.append(Shot(name, frame, view))
    return found


@dataclass(frozen=True)
class Moves:
    """Frames as the USD exporter takes them."""

    fps: float
    translation: np.ndarray
    joint_rotations: np.ndarray
    arkit: np.ndarray
    gaze: np.ndarray


def motion(frames: list[PoseFrame]) -> Moves:
    """Pose frames -> a motion, one frame each."""
    return Moves(
        30.0,
        np.stack([np.asarray(f.translation) for f in frames]),
        np.stack([np.asarray(f.joint_rotations) for f in frames]),
        np.stack([np.asarray(f.arkit) for f in frames]),
        np.stack([np.asarray(f.gaze) for f in frames]),
    )


def camera(view: View, background: tuple[float, float, float]) -> dict[str, Any]:
    """A view as `Viewer.snapshot` takes it."""
    return {
        "viewmat": view.viewmat.flatten().tolist(),
        "fovY": FOV_DEGREES,
        "width": view.width,
        "height": view.height,
        "background": background,
    }


def our_picture(animator: Animator, shot: Shot) -> tuple[np.ndarray, np.ndarray]:
    """Our renderer: colour over black (H, W, 3), 0-1, and alpha (H, W)."""
    g = animator.evaluate(shot.frame)
    v = shot.view
    image, alpha, _ = render(
        g.means, g.quats, g.scales, g.opacities, g.sh, v.viewmat[None], v.K[None], v.width, v.height,
        sh_degree=g.sh_degree,
    )  # fmt: skip
    return image[0].clamp(0, 1).numpy(), alpha[0].reshape(v.height, v.width).numpy()


def decode(url: str) -> np.ndarray:
    """PNG data URL -> (H, W, 3), 0-1."""
    data = base64.b64decode(url.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float64) / 255


def browser_picture(answer: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Pictures over black and over white -> colour over black and alpha."""
    black, white = decode(answer["black"]), decode(answer["white"])
    return black, 1.0 - (white - black).mean(axis=2)


def compare(ours: tuple[np.ndarray, np.ndarray], theirs: tuple[np.ndarray, np.ndarray]) -> Score:
    """IoU of the silhouettes and PSNR on their union."""
    a, b = ours[1] > 0.5, theirs[1] > 0.5
    union = a | b
    error = float(np.mean((ours[0][union] - theirs[0][union]) ** 2))
    return Score(float((a & b).sum() / union.sum()), float(-10 * np.log10(max(error, 1e-12))))


def script(found: list[Shot]) -> str:
    """What the browser does: every shot over black and white; the first two again with the wrong rest."""
    cameras = [[camera(s.view, BLACK), camera(s.view, WHITE)] for s in found]
    return f"""
const cameras = {json.dumps(cameras)};
const both = async (i) => {{
  lca.playing = false; lca.seek(i);
  return {{black: await lca.snapshot(cameras[i][0]), white: await lca.snapshot(cameras[i][1])}};
}};
const right = [], points = [];
for (let i = 0; i < cameras.length; i++) {{
  right.push(await both(i));
  points.push(Array.from(lca.splats.deformer.points));
}}
lca.show("mesh");
const mesh = await both(1);
const meshPoints = Array.from(lca.proxy.deformer.points);
lca.show("splats");
// Moving a slider of the page must move what it says: the jaw, by an input event as a person's hand makes it.
lca.seek(0);
lca.evaluate();
const before = lca.splats.deformer.points.slice();
const slider = document.querySelector('input[data-control="rig:face:jawOpen"]');
slider.value = 1;
slider.dispatchEvent(new Event("input"));
lca.evaluate();
let moved = 0;
const after = lca.splats.deformer.points;
for (let i = 0; i < before.length; i++) moved = Math.max(moved, Math.abs(before[i] - after[i]));
slider.value = 0;
slider.dispatchEvent(new Event("input"));
const sliders = document.querySelectorAll("input[type=range]").length;
// The control: a rest that is not the bind pose, as when a reader forgets bind^-1.
const identity = [1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1];
lca.avatar.skeleton.bind = Float64Array.from({{length: 55 * 16}}, (_, i) => identity[i % 16]);
const wrong = [await both(0), await both(1)];
const {{fps}} = lca.avatar.animation;
return {{right, wrong, points, mesh, meshPoints, moved, sliders, fps, frames: lca.frames}};
"""


def run(chromium: str, drive: Any, package: Path, work: Path) -> dict[str, Any]:
    """Export, open, compare. Scores by name, the browser's answer, and the pictures written to ``work``."""
    import lca_usd

    animator = Animator(Avatar.load(package))
    found = shots(animator)
    asset = work / "shot.usdz"
    lca_usd.export_shot(package, motion([s.frame for s in found]), asset, pose_shapes=True)
    answer = drive(chromium, page(), script(found), asset.read_bytes())
    scores, wrong = {}, {}
    for i, shot in enumerate(found):
        ours, theirs = our_picture(animator, shot), browser_picture(answer["right"][i])
        scores[shot.name] = compare(ours, theirs)
        pair = np.concatenate([ours[0], theirs[0], np.abs(ours[0] - theirs[0]) * 4], axis=1)
        Image.fromarray((pair.clip(0, 1) * 255).astype(np.uint8)).save(work / f"{shot.name}.png")
        if i < len(answer["wrong"]):
            wrong[shot.name] = compare(ours, browser_picture(answer["wrong"][i]))
    return {"scores": scores, "wrong": wrong, "answer": answer, "asset": asset, "shots": found}


if __name__ == "__main__":
    from web_browser import drive, find_chromium

    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    result = run(find_chromium() or "", drive, Path(sys.argv[1]), folder)
    for name in result["scores"]:
        print(name, result["scores"][name], "wrong rest:", result["wrong"].get(name))
