"""Errors of the tracker, as it makes them: statistics of real runs, and noise that has the same statistics.

In: the exact motion, camera and shape of a clip. Out: :class:`Tracked`, what the tracker would have said.
The figures come from ``assets/tracking_noise.json``, written by ``lca bench tracking``, which films synthetic
people and lets the capture room track them; :func:`statistics` judges the real tracker and the noise alike.
Errors agree with the picture, as real ones do: after drawing them the pose is fitted to the joints in the
image again, so that what remains is mostly what one camera cannot see.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from lca.errors import NotFoundError
from lca.motion.rotation import axis_angles, matrices
from lca_core.body.names import JOINT_NAMES, JOINT_PARENTS, NUM_JOINTS
from lca_core.data import library, skinning
from lca_core.data.library import ASSETS
from lca_core.data.motion import named_hand

GROUPS: dict[str, tuple[str, ...]] = {
    "root": ("pelvis",), "spine": ("spine1", "spine2", "spine3"), "head": ("neck", "head"),
    "collar": ("collar",), "shoulder": ("shoulder",), "elbow": ("elbow",), "wrist": ("wrist",),
    "hip": ("hip",), "knee": ("knee",), "ankle": ("ankle",),
    "fingers": ("index", "middle", "pinky", "ring", "thumb"),
}  # fmt: skip
"""Joints whose errors share one size."""
FILE = ASSETS / "tracking_noise.json"
SOFTNESS = 0.5
"""How far joints give way to the picture, as a share of their measured error."""
BODY = 22
"""The first joints: the body without hands and face."""


def group_joints(group: str) -> list[int]:
    """Joint numbers of a group."""
    names = GROUPS[group]
    return [j for j, n in enumerate(JOINT_NAMES) if n in names or n.split("_", 1)[-1].rstrip("123") in names]


@dataclass(frozen=True)
class Truth:
    """A clip as it is, or as somebody says it is.

    Attributes:
        pose: (T,55,3) axis-angle. transl: (T,3) m. expression: (T,52). gaze: (T,2,2). betas: (50,).
        K: (T,3,3) pixels. viewmat: (T,4,4) world-to-camera. fps: frames per second.
        hands: (T,2) whether the left and right hand were found.
    """

    pose: NDArray
    transl: NDArray
    expression: NDArray
    gaze: NDArray
    betas: NDArray
    K: NDArray
    viewmat: NDArray
    fps: float
    hands: NDArray[np.bool_]


Tracked = Truth
"""What a tracker says; the same fields."""


@cache
def measured() -> dict[str, Any]:
    """The measured statistics and the calibrated sizes of the noise.

    Raises:
        NotFoundError: the file is missing from this installation.
    """
    if not FILE.is_file():
        raise NotFoundError(f"{FILE.name} is missing; run `lca bench tracking --write`, or reinstall.")
    return dict(json.loads(FILE.read_text(encoding="utf-8")))


def joints_of(
    betas: NDArray, pose: NDArray, transl: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """World joints (T,55,3) and rotations (T,55,3,3) of a body."""
    body = library.extended_body()
    rest = skinning.rest_joints(body.template + np.tensordot(np.asarray(betas, np.float32), body.shapes, 1))
    return _forward(rest.astype(np.float64), matrices(pose), transl)


def _forward(rest: NDArray, local: NDArray, transl: NDArray) -> tuple[NDArray, NDArray]:
    turns, places = np.empty_like(local), np.zeros(local.shape[:3])
    for j, parent in enumerate(JOINT_PARENTS):
        if parent < 0:
            turns[:, j], places[:, j] = local[:, j], rest[j] + transl
        else:
            turns[:, j] = turns[:, parent] @ local[:, j]
            places[:, j] = places[:, parent] + turns[:, parent] @ (rest[j] - rest[parent])
    return places, turns


def project(points: NDArray, K: NDArray, viewmat: NDArray) -> NDArray[np.float64]:
    """Pixels (T,N,2) of world points (T,N,3)."""
    camera = np.einsum("tij,tnj->tni", viewmat[:, :3, :3], points) + viewmat[:, None, :3, 3]
    image = np.einsum("tij,tnj->tni", K, camera)
    return image[..., :2] / np.maximum(image[..., 2:], 1e-6)


def body_size(pixels: NDArray) -> NDArray[np.float64]:
    """Size (T,) in pixels of bodies: the diagonal of the box of joints (T,N,2)."""
    return np.linalg.norm(np.ptp(pixels, axis=1), axis=-1)


def rotation_errors(true: Truth, said: Tracked) -> NDArray[np.float64]:
    """(T,55,3) rotation vectors in radians from the true to the said rotation; the root in camera axes."""
    a, b = matrices(true.pose), matrices(said.pose)
    out = axis_angles(np.swapaxes(a, -1, -2) @ b)
    root_a = true.viewmat[:, :3, :3] @ a[:, 0]
    root_b = said.viewmat[:, :3, :3] @ b[:, 0]
    out[:, 0] = axis_angles(root_b @ np.swapaxes(root_a, -1, -2))
    return out


def statistics(pairs: list[tuple[Truth, Tracked]]) -> dict[str, Any]:
    """Sizes of the errors over clips.

    Per group of joints ``bias`` (of the clip's mean) and ``noise`` (about that mean), root mean square per
    axis in degrees; ``correlation_s``, the time over which noise lasts; camera, shape, face and hands; and
    ``reprojection_percent``, the median distance in the image as a share of the body's size.
    """
    groups: dict[str, list[tuple[float, float]]] = {g: [] for g in GROUPS}
    lasting, focal, guess, depth, beta, face, look, found, runs, reprojection = ([] for _ in range(10))
    for true, said in pairs:
        error = rotation_errors(true, said)
        for name in GROUPS:
            joints = group_joints(name)
            for side in (0, 1) if name == "fingers" else (None,):
                rows = [j for j in joints if side is None or (j >= 40) == bool(side)]
                seen = said.hands[:, side] if side is not None else np.ones(len(error), bool)
                if seen.sum() < 3:
                    continue
                part = error[seen][:, rows]
                mean = part.mean(0)
                groups[name].append((float((mean**2).mean()), float(((part - mean) ** 2).mean())))
        rest = (error - error.mean(0))[:, 1:BODY]
        if len(rest) > 4:
            follow = (rest[1:] * rest[:-1]).sum() / max((rest[1:] ** 2).sum(), 1e-12)
            lasting.append(-1 / np.log(np.clip(follow, 0.05, 0.99)) / true.fps)
        focal.append(float(np.log(said.K[:, 0, 0] / true.K[:, 0, 0]).mean()))
        long_side = 2 * np.maximum(true.K[:, 0, 2], true.K[:, 1, 2])
        guess.append(float(np.log(said.K[:, 0, 0] / long_side).mean()))
        far = [_depth(clip) for clip in (true, said)]
        depth.append(float(np.log(far[1] / far[0]).mean()) - focal[-1])
        beta.append(said.betas - true.betas)
        face.append(_face(true.expression, said.expression))
        look.append(float(np.sqrt(((said.gaze - true.gaze) ** 2).mean())))
        found.append(float(said.hands.mean()))
        runs.extend(_runs(said.hands))
        pixels = [
            project(joints_of(c.betas, c.pose, c.transl)[0][:, :BODY], c.K, c.viewmat) for c in (true, said)
        ]
        away = np.linalg.norm(pixels[1] - pixels[0], axis=-1).mean(1)
        reprojection.append(float(np.median(away / body_size(pixels[0]))))
    sizes = {
        name: {
            "bias_deg": float(np.degrees(np.sqrt(np.mean([b for b, _ in values])))),
            "noise_deg": float(np.degrees(np.sqrt(np.mean([n for _, n in values])))),
        }
        for name, values in groups.items()
        if values
    }
    shape = np.array(beta)
    return {
        "clips": len(pairs),
        "frames": int(sum(len(t.pose) for t, _ in pairs)),
        "joints": sizes,
        "correlation_s": float(np.median(lasting)) if lasting else 0.2,
        "log_focal_by_side": {"mean": float(np.mean(guess)), "sd": float(np.std(guess))},
        "log_focal": {"mean": float(np.mean(focal)), "sd": float(np.std(focal))},
        "log_depth_beyond_focal": {"mean": float(np.mean(depth)), "sd": float(np.std(depth))},
        "beta0": {"mean": float(shape[:, 0].mean()), "sd": float(shape[:, 0].std())},
        "betas_rms": float(np.sqrt((shape[:, 1:] ** 2).mean())),
        "expression": {k: float(np.mean([f[k] for f in face])) for k in face[0]},
        "gaze_rms_rad": float(np.sqrt(np.mean(np.square(look)))),
        "hands_found": float(np.mean(found)),
        "hand_gap_s": float(np.mean(runs) / pairs[0][0].fps) if runs else 0.0,
        "reprojection_percent": 100 * float(np.median(reprojection)),
    }


def _depth(clip: Truth) -> NDArray[np.float64]:
    return np.einsum("tj,tj->t", clip.viewmat[:, 2, :3], clip.transl) + clip.viewmat[:, 2, 3]


def _face(true: NDArray, said: NDArray) -> dict[str, float]:
    """Least-squares gain over actions that are used, and the size of what remains while nothing is done."""
    active = true > 0.15
    gain = (
        float((true[active] * said[active]).sum() / max((true[active] ** 2).sum(), 1e-9))
        if active.any()
        else 1.0
    )
    idle = said[true < 0.05]
    return {
        "gain": gain,
        "bias": float(idle.mean()) if len(idle) else 0.0,
        "rms": float(np.sqrt(((said - true) ** 2).mean())),
    }


def _runs(found: NDArray[np.bool_]) -> list[int]:
    """Lengths in frames of the gaps of both hands."""
    out = []
    for side in found.T:
        edges = np.flatnonzero(np.diff(np.concatenate([[1], side.astype(int), [1]])))
        out += (edges[1::2] - edges[::2]).tolist()
    return out


def sample_noise(rng: np.random.Generator, true: Truth, stats: dict[str, Any] | None = None) -> Tracked:
    """What the tracker would say about a clip; ``stats`` defaults to the measured ones."""
    facts = measured() if stats is None else stats
    size: dict[str, Any] = facts["draw"]
    pose_rng, camera_rng, shape_rng, face_rng, hand_rng = rng.spawn(5)
    count = len(true.pose)
    error = np.zeros((count, NUM_JOINTS, 3))
    for name in GROUPS:
        if name not in size["joints"]:
            continue
        rows, sizes = group_joints(name), size["joints"][name]
        bias = pose_rng.standard_normal((len(rows), 3)) * np.radians(sizes["bias_deg"])
        noise = _lasting(pose_rng, count, (len(rows), 3), size["correlation_s"] * true.fps)
        error[:, rows] = bias + noise * np.radians(sizes["noise_deg"])
    local = matrices(true.pose)
    said = local @ matrices(error)
    turn = true.viewmat[:, :3, :3]
    said[:, 0] = np.swapaxes(turn, -1, -2) @ matrices(error[:, 0]) @ turn @ local[:, 0]
    # One camera cannot see its focal length: the tracker's guess hangs on the format, not on the truth.
    side = 2 * float(max(true.K[0, 0, 2], true.K[0, 1, 2]))
    guess = size["log_focal_by_side"]
    log_focal = camera_rng.normal(guess["mean"], guess["sd"]) - np.log(true.K[0, 0, 0] / side)
    beyond = camera_rng.normal(size["log_depth_beyond_focal"]["mean"], size["log_depth_beyond_focal"]["sd"])
    K = np.array(true.K, np.float64)
    K[:, [0, 1], [0, 1]] *= np.exp(log_focal)
    camera = np.einsum("tij,tj->ti", turn, true.transl) + true.viewmat[:, :3, 3]
    camera[:, 2] *= np.exp(log_focal + beyond)
    # The same place in the picture at the new distance and focal length.
    camera[:, :2] *= np.exp(beyond)
    transl = np.einsum("tji,tj->ti", turn, camera - true.viewmat[:, :3, 3])
    betas = np.array(true.betas, np.float64)
    betas[0] += shape_rng.normal(size["beta0"]["mean"], size["beta0"]["sd"])
    betas[1:] += shape_rng.normal(0, size["betas_rms"], len(betas) - 1)
    body = library.extended_body()
    rest = skinning.rest_joints(body.template + np.tensordot(betas.astype(np.float32), body.shapes, 1))
    exact = project(joints_of(true.betas, true.pose, true.transl)[0][:, :BODY], true.K, true.viewmat)
    off = _lasting(camera_rng, count, (BODY, 2), size["correlation_s"] * true.fps)
    off = 0.7 * off + 0.7 * camera_rng.standard_normal((1, BODY, 2))
    wanted = exact + off * (size["landmark_percent"] / 100 * body_size(exact))[:, None, None]
    soft = np.full(BODY, np.radians(1.0))
    for name in GROUPS:
        rows = [j for j in group_joints(name) if j < BODY]
        if name in facts["joints"]:
            soft[rows] = SOFTNESS * np.radians(np.hypot(*facts["joints"][name].values()))
    said, transl = refit(rest.astype(np.float64), said, transl, K, true.viewmat, wanted, soft)
    found = _hand_gaps(hand_rng, count, size, true.fps)
    prior = np.zeros((NUM_JOINTS, 3))
    for k, which in enumerate(("left", "right")):
        named_hand(prior, which, "relaxed")
        hand = slice(25 + 15 * k, 40 + 15 * k)
        said[~found[:, k], hand] = matrices(prior[hand])
    pose = axis_angles(said)
    expression, gaze = _face_noise(face_rng, true, size)
    return Truth(
        pose.astype(np.float32), transl.astype(np.float32), expression, gaze, betas.astype(np.float32),
        K.astype(np.float32), true.viewmat, true.fps, found,
    )  # fmt: skip


def _lasting(
    rng: np.random.Generator, count: int, shape: tuple[int, ...], frames: float
) -> NDArray[np.float64]:
    """Unit noise (T,*shape) that lasts for about ``frames`` frames."""
    sigma = max(0.7 * frames, 0.3)
    pad = int(4 * sigma) + 1
    raw = gaussian_filter1d(rng.standard_normal((count + 2 * pad, *shape)), sigma, axis=0)[pad : pad + count]
    impulse = np.zeros(8 * pad + 1)
    impulse[4 * pad] = 1.0
    return raw / np.sqrt((gaussian_filter1d(impulse, sigma) ** 2).sum())


def _hand_gaps(rng: np.random.Generator, count: int, size: dict[str, Any], fps: float) -> NDArray[np.bool_]:
    found = np.ones((count, 2), bool)
    gap = max(size["hand_gap_s"] * fps, 1.0)
    share = float(np.clip(1 - size["hands_found"], 0, 0.95))
    for side in (0, 1):
        # Alternating runs; a random start keeps the share right in short clips.
        t, lost = 0, bool(rng.random() < share)
        while t < count:
            mean = gap if lost else gap * (1 - share) / max(share, 1e-3)
            length = max(1, round(rng.exponential(mean)))
            if lost:
                found[t : t + length, side] = False
            t, lost = t + length, not lost
    return found


def _face_noise(
    rng: np.random.Generator, true: Truth, size: dict[str, Any]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    e = size["expression"]
    count, actions = true.expression.shape
    # What is done is told with a gain of its own per action and clip; what is not done flickers a little.
    # Few actions misfire strongly (the tail), most hardly at all.
    gain = np.clip(rng.normal(e["gain"], 0.15, actions), 0.0, 1.5)
    shape = 1 / np.clip(e["tail"], 0.3, 8.0) ** 2
    idle = rng.gamma(shape, 1 / shape, actions) + 0.5 * _lasting(
        rng, count, (actions,), size["correlation_s"] * true.fps
    )
    expression = np.clip(true.expression * gain + e["bias"] * idle, 0, 1)
    off = size["gaze_rms_rad"] * np.sqrt(0.5)
    gaze = true.gaze + off * (rng.standard_normal((1, 1, 2)) + _lasting(rng, count, (1, 2), 0.1 * true.fps))
    return expression.astype(np.float32), gaze.astype(np.float32)


def refit(
    rest: NDArray, local: NDArray, transl: NDArray, K: NDArray, viewmat: NDArray, wanted: NDArray,
    stiffness: NDArray, *, steps: int = 3,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Small turns of the body joints and a shift that bring joints (T,22) to pixels ``wanted`` (T,22,2).

    Damped Gauss-Newton per frame. ``stiffness`` (22,) are the radians of turn of each joint that cost as much
    as one percent of the body's size in the image; distance from the camera is held.

    Returns:
        local rotations (T,55,3,3) and translation (T,3).
    """
    below = np.zeros((BODY, BODY), bool)
    for k in range(BODY):
        j = JOINT_PARENTS[k]
        while j >= 0:
            below[j, k] = True
            j = JOINT_PARENTS[j]
    count, turn = len(local), viewmat[:, :3, :3]
    local = local.copy()
    scale = 1 / (0.01 * body_size(wanted))
    for _ in range(steps):
        places, turns = _forward(rest, local, transl)
        p = places[:, :BODY]
        camera = np.einsum("tij,tnj->tni", turn, p) + viewmat[:, None, :3, 3]
        z = np.maximum(camera[..., 2], 1e-3)
        f = K[:, 0, 0]
        # d pixel / d camera point, then / d world point.
        jac = np.zeros((count, BODY, 2, 3))
        jac[..., 0, 0] = jac[..., 1, 1] = f[:, None] / z
        jac[..., 0, 2] = -f[:, None] * camera[..., 0] / z**2
        jac[..., 1, 2] = -f[:, None] * camera[..., 1] / z**2
        jac = jac @ turn[:, None]
        arm = p[:, None] - p[:, :, None]
        # Turning joint j by w moves joint k by w x arm = -[arm]x w.
        cross = np.zeros((*arm.shape, 3))
        cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = arm[..., 2], -arm[..., 1], arm[..., 0]
        cross -= np.swapaxes(cross, -1, -2)
        cross *= below[None, :, :, None, None]
        by_turn = np.einsum("tkab,tjkbc->tkajc", jac, cross).reshape(count, 2 * BODY, 3 * BODY)
        # Only sideways shifts: distance and size are the tracker's guess and stay.
        sideways = np.swapaxes(turn, -1, -2)[:, :, :2]
        by_shift = np.einsum("tkab,tbc->tkac", jac, sideways).reshape(count, 2 * BODY, 2)
        a = np.concatenate([by_turn * np.repeat(stiffness, 3), by_shift], -1) * scale[:, None, None]
        now = project(p, K, viewmat)
        r = ((wanted - now) * scale[:, None, None]).reshape(count, 2 * BODY)
        damp = np.concatenate([np.ones(3 * BODY), np.full(2, 1e-6)])
        x = np.linalg.solve(
            np.swapaxes(a, -1, -2) @ a + np.diag(damp), np.einsum("tij,ti->tj", a, r)[..., None]
        )[..., 0]
        w = matrices(np.clip(x[:, : 3 * BODY].reshape(count, BODY, 3) * stiffness[:, None], -0.3, 0.3))
        for j in range(BODY):
            above = turns[:, JOINT_PARENTS[j]] if j else np.broadcast_to(np.eye(3), (count, 3, 3))
            local[:, j] = np.swapaxes(above, -1, -2) @ w[:, j] @ above @ local[:, j]
        transl = transl + np.einsum("tbc,tc->tb", sideways, x[:, 3 * BODY :])
    return local, transl


def calibrate(stats: dict[str, Any], clips: list[Truth], *, rounds: int = 8, seed: int = 0) -> dict[str, Any]:
    """``stats`` with a block ``draw``: sizes to draw with, so that the outcome has the measured sizes.

    What is drawn and what comes out differ, because the pose is fitted to the picture again and faces are
    clipped. Each round draws noise for ``clips``, measures it and corrects the sizes by the ratio.
    """
    draw: dict[str, Any] = json.loads(json.dumps({k: stats[k] for k in (
        "joints", "correlation_s", "log_focal_by_side", "log_depth_beyond_focal", "beta0", "betas_rms",
        "expression",
        "gaze_rms_rad", "hands_found", "hand_gap_s",
    )}))  # fmt: skip
    draw["landmark_percent"] = stats["reprojection_percent"]
    draw["expression"]["tail"] = 1.0
    out = {**stats, "draw": draw}

    def nudge(value: float, want: float, got: float) -> float:
        return float(value * np.clip(want / max(got, 1e-9), 0.4, 2.5) ** 0.8)

    for k in range(rounds):
        rng = np.random.default_rng(seed + k)
        got = statistics([(c, sample_noise(rng, c, out)) for c in clips])
        for name, sizes in draw["joints"].items():
            for key in sizes:
                sizes[key] = nudge(sizes[key], stats["joints"][name][key], got["joints"][name][key])
        draw["landmark_percent"] = nudge(
            draw["landmark_percent"], stats["reprojection_percent"], got["reprojection_percent"]
        )
        draw["correlation_s"] = nudge(draw["correlation_s"], stats["correlation_s"], got["correlation_s"])
        face, want = got["expression"], stats["expression"]
        gain = draw["expression"]["gain"] + 0.8 * (want["gain"] - face["gain"])
        draw["expression"]["gain"] = float(np.clip(gain, 0.0, 1.5))
        draw["expression"]["bias"] = nudge(draw["expression"]["bias"], want["bias"], face["bias"])
        draw["expression"]["tail"] = nudge(draw["expression"]["tail"], want["rms"], face["rms"])
        for key in ("gaze_rms_rad", "betas_rms", "hand_gap_s"):
            draw[key] = nudge(draw[key], stats[key], got[key])
    return out
