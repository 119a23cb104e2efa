"""The acceptance run of one Blender: zip -> clean configuration -> avatar from a live service -> compared.

``accept`` starts the service in this process, runs the steps of ``steps.py`` each in a Blender process of its
own, computes what ``lca animate`` shows of the same avatar, and checks the differences.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from lca_bridge.server.app import ServiceThread
from lca_bridge.server.config import ServerConfig
from lca_bridge.wire.package import read_package
from lca_bridge.wire.skin import pose_proxy
from lca_core.avatar.animate import Animator
from lca_core.avatar.file import load_avatar
from lca_core.avatar.frame import PoseFrame
from lca_core.body.names import ARKIT_NAMES, JOINT_INDEX

ROOT = Path(__file__).parents[3]
CLIP = ROOT / "core" / "lca_core" / "data" / "assets" / "sample_clip.mp4"
STEPS = Path(__file__).with_name("steps.py")
STEP_SECONDS = 900.0  # making the avatar takes 60 s on two idle cores, over 300 s on two crowded ones
# proxy max, splat centres mean and 99th percentile (mm), orientation mean (degrees)
LIMITS = (2.0, 1.0, 3.0, 2.0)


def poses() -> dict[str, PoseFrame]:
    """Five poses over the whole body, hands and face."""
    out = {}
    both = (("left", 1.0), ("right", -1.0))

    def frame(turns: dict[str, tuple], arkit: dict[str, float], translation: tuple = (0, 0, 0)) -> PoseFrame:
        rotations, weights = np.zeros((55, 3), np.float32), np.zeros(52, np.float32)
        for joint, vector in turns.items():
            rotations[JOINT_INDEX[joint]] = vector
        for name, weight in arkit.items():
            weights[ARKIT_NAMES.index(name)] = weight
        return PoseFrame(np.array(translation, np.float32), rotations, weights)

    wave = {"left_shoulder": (0, -0.2, 0.9), "left_elbow": (0.1, -1.2, 0.3), "head": (0.1, 0.5, -0.1)}
    out["wave"] = frame(
        {**wave, "pelvis": (0, 0.7, 0)}, {"jawOpen": 0.5, "mouthSmileLeft": 0.8}, (0.3, 0.1, 0)
    )
    crouch: dict[str, tuple] = {"spine2": (0.3, 0.3, 0)}
    stand: dict[str, tuple] = {}
    walk: dict[str, tuple] = {"left_hip": (-0.5, 0, 0), "right_hip": (0.4, 0, 0), "right_knee": (0.6, 0, 0)}
    for side, sign in both:
        crouch |= {
            f"{side}_hip": (-1.1, 0.1 * sign, 0.2 * sign),
            f"{side}_knee": (1.6, 0, 0),
            f"{side}_ankle": (-0.5, 0, 0),
        }
        for finger in ("index", "middle", "ring", "pinky"):
            crouch |= {f"{side}_{finger}{n}": (0, 0, -0.8 * sign) for n in (1, 2, 3)}
        stand |= {f"{side}_shoulder": (0, 0, -1.1 * sign), f"{side}_elbow": (0, -0.5 * sign, 0)}
        walk[f"{side}_shoulder"] = (0.5 * sign, 0, -1.2 * sign)
    out["crouch"] = frame(crouch, {"browDownLeft": 1.0}, (0, -0.4, 0.1))
    out["stand"] = frame(stand, {})
    weights = np.random.default_rng(0).uniform(0, 0.5, 52)
    out["face"] = frame({}, {n: float(w) for n, w in zip(ARKIT_NAMES, weights) if "Look" not in n})
    out["walk"] = frame(walk, {"mouthPucker": 0.6})
    return out


def write_truth(package: Path, target: Path) -> None:
    """What ``lca animate`` shows (its Animator), and the proxy by the file format's own formula."""
    animator, file, frames = Animator(load_avatar(package)), read_package(package), poses()
    posed = [animator.evaluate(frame) for frame in frames.values()]
    quats = [p.quats.numpy() / np.linalg.norm(p.quats.numpy(), axis=1, keepdims=True) for p in posed]
    proxy = [pose_proxy(file, f.joint_rotations, f.translation, f.arkit) for f in frames.values()]
    np.savez(
        target,
        titles=list(frames),
        rotations=[f.joint_rotations for f in frames.values()],
        translation=[f.translation for f in frames.values()],
        arkit=[f.arkit for f in frames.values()],
        means=[p.means.numpy() for p in posed],
        quats=quats,
        proxy=proxy,
    )


def accept(python: str | Path, extension: Path, folder: Path) -> dict[str, Any]:
    """Run every step with the Blender of ``python``; returns what was measured.

    Raises:
        AssertionError: a step failed (its output is the message) or a pose is out of tolerance.
    """
    settings = folder / "settings.json"
    state: dict[str, Any] = {"zip": str(extension), "clip": str(CLIP)}
    state |= {"blend": str(folder / "shot.blend"), "truth": str(folder / "truth.npz")}
    with ServiceThread(ServerConfig(data_dir=folder / "service", address="127.0.0.1:0")) as service:
        state |= {"endpoint": service.target, "token_file": str(folder / "service" / "token")}
        settings.write_text(json.dumps(state))
        step(python, "create", settings, folder)
        step(python, "drive", settings, folder)
    write_truth(Path(json.loads(settings.read_text())["package"]), folder / "truth.npz")
    for name in ("compare", "reload", "remove"):
        step(python, name, settings, folder)
    result: dict[str, Any] = json.loads(settings.read_text())
    for way in ("live_mm", "baked_mm"):
        assert all(v <= limit for v, limit in zip(result[way], LIMITS[1:3], strict=True)), (way, result[way])
    for when in ("errors", "errors_after_reload"):
        assert len(result[when]) == 5
        for title, values in result[when].items():
            assert all(v <= limit for v, limit in zip(values, LIMITS, strict=True)), (when, title, values)
    return result


def step(python: str | Path, name: str, settings: Path, folder: Path) -> None:
    """One step in its own process, with its own time limit."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"BLENDER_USER_RESOURCES": str(folder / "user"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(python), str(STEPS), name, str(settings)],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=STEP_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "STEP DONE" in done.stdout, (
        f"{name}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    )
