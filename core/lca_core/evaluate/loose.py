"""Loose garments: held-out skirts and dresses in held-out strides, with and without the extension.

In: people of the test split (their cuts are never trained on) with simulated cloth as truth. Out: a
JSON-ready report. Two questions, same run: what the avatar gains end to end (`lca create` from four views
with and without looking for a skirt), and what the skin weights alone gain (the true garment, moved by the
nearest body weights or by the node deformer). Tight clothes go through the same door and must not change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca.errors import InvalidInputError
from lca_core.evaluate.metrics import scores
from lca_core.evaluate.synthetic import INPUT_YAWS, _capture, _Shot, _tile

SIZE = 320
MOTIONS = 3
"""Held-out key poses per person, each from its own direction."""


@dataclass(frozen=True)
class LooseEvalOptions:
    """People in skirts, people in tight clothes, seed."""

    people: int = 4
    tight: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.people < 1 or self.tight < 0:
            raise InvalidInputError("Evaluate at least one person in a skirt.")


def evaluate_loose(
    options: LooseEvalOptions, tell: Callable[[str], None] = print
) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Run the protocol: report and contact sheet (H,W,3) uint8."""
    import torch

    from lca_core.avatar.pictures import sheet
    from lca_core.data.people import Person, sample_identity
    from lca_core.model.checkpoint import load_model
    from lca_core.train.loose import wearers

    torch.set_num_threads(1)  # the report counts CPU time
    start = time.process_time()
    model = load_model("lca-xs")
    people: list[dict[str, Any]] = []
    tight: list[dict[str, Any]] = []
    rows, stretches = [], []
    for number in wearers("test", options.people):
        person = Person(sample_identity("test", number))
        made = _person(person, model, np.random.default_rng([options.seed, number]), loose=True)
        rows.append(made.pop("tiles"))
        stretches.append(made.pop("stretch"))
        people.append({"person": number, **made})
        tell(f"{number}: {made['without']:.2f} -> {made['with']:.2f} dB, found {made['found']}")
    for number in _tight(options.tight):
        person = Person(sample_identity("test", number))
        made = _person(person, model, np.random.default_rng([options.seed, number]), loose=False)
        rows.append(made.pop("tiles"))
        tight.append({"person": number, **made})
        tell(f"{number} (tight): {made['without']:.2f} -> {made['with']:.2f} dB, found {made['found']}")
    without, deformed, simulated = (np.concatenate([s[k] for s in stretches]) for k in range(3))

    def mean(key: str, of: list[dict[str, Any]]) -> float:
        return float(np.mean([p[key] for p in of])) if of else 0.0

    report = {
        "lgs_gain_psnr": round(mean("with", people) - mean("without", people), 3),
        "stretch_p99_with": round(float(np.quantile(deformed, 0.99)), 3),
        "stretch_p99_without": round(float(np.quantile(without, 0.99)), 3),
        "stretch_p99_simulated": round(float(np.quantile(simulated, 0.99)), 3),
        "tight_change_psnr": round(mean("with", tight) - mean("without", tight), 3),
        "psnr_with": round(mean("with", people), 3),
        "psnr_without": round(mean("without", people), 3),
        "weights_only_gain_psnr": round(mean("weights_with", people) - mean("weights_without", people), 3),
        "found_share": round(float(np.mean([p["found"] for p in people])), 3),
        "tight_mistaken": int(sum(p["found"] for p in tight)),
        "people": people,
        "tight": tight,
        "cpu_seconds": round(time.process_time() - start, 1),
    }
    return report, sheet(rows)


def walk_and_raise() -> list[tuple[str, Any]]:
    """Named pose frames: six of a walk, three of a leg raise, a step aside."""
    from lca_core.avatar.frame import PoseFrame
    from lca_core.avatar.pictures import STANDING
    from lca_core.data.motion import set_leg

    def frame(**legs: dict[str, float]) -> PoseFrame:
        pose = PoseFrame.posed(STANDING)
        joints = np.array(pose.joint_rotations, np.float64)
        for side, values in legs.items():
            set_leg(joints, side, **values)
        return PoseFrame(joint_rotations=joints.astype(np.float32))

    out = [("stand", frame())]
    for k in range(6):
        phase = 2 * np.pi * k / 6
        legs = {}
        for side, p in (("left", phase), ("right", phase + np.pi)):
            legs[side] = {"hip": 0.08 + 0.5 * np.cos(p), "knee": 0.1 + 0.8 * max(np.sin(p + np.pi), 0.0)}
        out.append((f"walk {k + 1}", frame(**legs)))
    for size in (0.4, 0.8, 1.2):
        out.append((f"raise {size:.1f} rad", frame(left={"hip": size, "knee": size})))
    out.append(("aside", frame(right={"out": 0.4})))
    return out


def real_sheet(folder: Path) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """A person of a folder of photographs, walking and raising a leg, without and with the extension."""
    from lca_core.avatar.animate import Animator
    from lca_core.avatar.create import CreateOptions, create_avatar
    from lca_core.avatar.pictures import body_view, picture, sheet
    from lca_core.capture import capture_clip

    capture = capture_clip(folder, max_references=8, seed=0)
    rows, facts = [], None
    for name, look in (("without", False), ("with", True)):
        avatar = create_avatar(capture, name=folder.name, options=CreateOptions(loose_garments=look))
        facts = avatar.provenance["loose_garment"]
        animator = Animator(avatar)
        for yaw in (0.0, 1.1):
            rows.append(
                [
                    (f"{name}: {label}", picture(animator.evaluate(f), body_view(animator, f, yaw, 260, 150)))
                    for label, f in walk_and_raise()
                ]
            )
    return {"found": facts is not None, "garment": facts}, sheet(rows)


def markdown(report: dict[str, Any]) -> str:
    """The report as tables."""
    lines = ["| person | clothes | found | PSNR without | PSNR with |", "|---|---|---|---|---|"]
    for kind in ("people", "tight"):
        word = "skirt or dress" if kind == "people" else "tight"
        lines += [
            f"| {p['person']} | {word} | {p['found']} | {p['without']:.2f} | {p['with']:.2f} |"
            for p in report[kind]
        ]
    lines += ["", "| measure | value |", "|---|---|"]
    lines += [f"| {k} | {v} |" for k, v in report.items() if isinstance(v, int | float)]
    return "\n".join(lines) + "\n"


def _tight(count: int) -> list[int]:
    from lca_core.data.people import SPLITS, sample_identity
    from lca_core.data.procedural import SKIRTS

    found: list[int] = []
    for number in range(*SPLITS["test"]):
        bottom = sample_identity("test", number).outfit.bottom
        if len(found) < count and not (bottom is not None and bottom.kind in SKIRTS):
            found.append(number)
    return found


def _person(person: Any, model: Any, rng: np.random.Generator, *, loose: bool) -> dict[str, Any]:
    import torch

    from lca_core.avatar.animate import Animator
    from lca_core.avatar.create import CreateOptions, create_avatar
    from lca_core.avatar.frame import PoseFrame
    from lca_core.data import cloth, motion, skinning
    from lca_core.data.lights import white
    from lca_core.data.preview import nearest_weights
    from lca_core.data.samples import background, fit_camera
    from lca_core.model.loose import node_weights
    from lca_core.splat import render
    from lca_core.train.loose import stride

    scene, used, light = person.scene(), np.unique(person.faces), white()

    def shot(pose: Any, posed: NDArray, yaw: float, *, over: bool = False) -> _Shot:
        scene.pose(posed)
        k, viewmat = fit_camera(posed[used], np.radians(yaw), 0.05, 3.5, SIZE, SIZE, 0.9, np.zeros(2))
        frame = scene.render(k, viewmat, SIZE, SIZE, light, samples=2)
        image = frame.composite(background(rng, SIZE, SIZE)) if not over else frame.composite(0.0)
        return _Shot(image, frame.composite(0.0), np.asarray(frame.coverage, np.float32), k, viewmat, pose)

    standing = motion.random_pose(rng, "a_pose")
    posed = person.posed(standing.joints, standing.transl, standing.expression, standing.gaze)
    inputs = [shot(standing, posed, yaw + rng.normal(0, 4)) for yaw in INPUT_YAWS]
    capture = _capture(inputs, person.betas)
    avatars = {}
    found = False
    for name, look in (("without", False), ("with", True)):
        made = create_avatar(
            capture, name="loose", model=model, options=CreateOptions(loose_garments=look, texture_size=256)
        )
        found |= made.provenance["loose_garment"] is not None
        avatars[name] = Animator(made)
    poses = stride(rng, 9 * MOTIONS + 1)
    truth = cloth.drape(person, poses)
    keys = [9 * (k + 1) for k in range(MOTIONS)]
    out: dict[str, Any] = {name: [] for name in ("without", "with", "weights_without", "weights_with")}
    tiles = [("input", _tile(inputs[0].over)), ("input", _tile(inputs[1].over))]
    moved: dict[str, NDArray] = {}
    stretch: tuple[list[NDArray], ...] = ([], [], [])
    skirt = person.skirt
    if loose:
        y = skirt.rest[:, 1]
        nearest = nearest_weights(person)
        deformed = node_weights(skirt.rest, skirt.weights, person.joints, float(y.max()), float(y.min()))
        moved = {"weights_without": nearest, "weights_with": deformed}
    for t in keys:
        pose, yaw = poses[t], float(rng.uniform(-70, 70))
        real = shot(pose, truth[t], yaw, over=True)
        target = real.over.astype(np.float32) / 255
        frame = PoseFrame(pose.transl, pose.joints, pose.expression, pose.gaze)
        tiles.append(("truth", _tile(real.over)))
        for name, animator in avatars.items():
            g = animator.evaluate(frame)
            image, alpha, _ = render(
                g.means, g.quats, g.scales, g.opacities, g.colors(),
                torch.from_numpy(real.viewmat.astype(np.float32))[None],
                torch.from_numpy(real.k.astype(np.float32))[None], SIZE, SIZE,
            )  # fmt: skip
            picture = image[0].clamp(0, 1).numpy()
            out[name].append(scores(picture, alpha[0, ..., 0].numpy(), target, real.mask)["psnr"])
            tiles.append((name, _tile((picture * 255 + 0.5).astype(np.uint8))))
        transforms = skinning.joint_transforms(skinning.rotation_matrices(pose.joints), person.joints)
        for k, (name, weights) in enumerate(moved.items()):
            changed = truth[t].copy()
            changed[skirt.where] = skinning.skin(skirt.rest.astype(np.float32), weights, transforms)
            stretch[k].append(skirt.stretch(changed[skirt.where]))
            scene.pose(changed)
            drawn = scene.render(real.k, real.viewmat, SIZE, SIZE, light, samples=2)
            picture = drawn.composite(0.0).astype(np.float32) / 255
            mask = np.asarray(drawn.coverage, np.float32)
            out[name].append(scores(picture, mask, target, real.mask)["psnr"])
        if loose:
            stretch[2].append(skirt.stretch(truth[t][skirt.where]))
    result: dict[str, Any] = {k: round(float(np.mean(v)), 3) for k, v in out.items() if v}
    if loose:
        result["stretch"] = tuple(np.concatenate(s) for s in stretch)
    return {**result, "found": bool(found), "tiles": tiles}
