"""Control of an avatar made from a real clip: every ARKit control and finger joint moves what it moves on
the body, in the same direction, and left stays left (the truth is the body's own shapes and skinning)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lca_core.avatar import Avatar, PoseFrame
from lca_core.avatar.animate import Animator
from lca_core.body.model import BodyModel
from lca_core.body.names import ARKIT_NAMES, JOINT_INDEX, JOINT_NAMES
from lca_core.model.checkpoint import load_model
from lca_core.model.density import Samples
from lca_core.model.teeth import drawn_teeth

FINGERS = [n for n in JOINT_NAMES if n[-1].isdigit() and not n.startswith("spine")]
HIDDEN = {"tongueOut"}
"""Moves the tongue inside the closed mouth."""
LEAKY = {"left_pinky3": (0.9, 0.78), "left_middle3": (0.95, 0.97)}
"""Finger tips move so little that learned pose components show: least cosine and share of the own side.
Measured with the shipped weights: 0.797 of the little finger's side (0.835 with the weights before)."""


class Scene:
    """The avatar and its body, point by point."""

    def __init__(self, path: Path) -> None:
        self.avatar = Avatar.load(path)
        self.animator = Animator(self.avatar)
        canonical = self.avatar.canonical
        # Teeth have a table of their own (tests/model/test_teeth.py).
        self.on_body = drawn_teeth(canonical.texel, canonical.uv_size) < 0
        rows, cols = np.asarray(canonical.texel[self.on_body], np.int64).T
        template = load_model(self.avatar.weights.config).template
        self.samples = Samples(template, rows, cols, canonical.uv_size)
        self.body = BodyModel.load()
        self.betas = torch.from_numpy(np.asarray(self.avatar.betas, np.float32))[None]
        self.rest = self.points(PoseFrame())
        self.still = self.means(PoseFrame())

    def means(self, frame: PoseFrame) -> np.ndarray:
        """The avatar's Gaussians but for the teeth."""
        return self.animator.evaluate(frame).means.numpy()[self.on_body]

    def points(self, frame: PoseFrame) -> np.ndarray:
        """The body's surface under those."""
        with torch.no_grad():
            posed = self.body(
                self.betas,
                torch.from_numpy(frame.joint_rotations)[None],
                torch.zeros(1, 3),
                torch.from_numpy(frame.arkit)[None],
            )
        return self.samples.on_texels(posed.vertices[0].numpy())

    def moves(self, frame: PoseFrame) -> tuple[np.ndarray, np.ndarray]:
        """Displacements (N,3) of the avatar and of its body."""
        return self.means(frame) - self.still, self.points(frame) - self.rest


@pytest.fixture(scope="module")
def scene(sample_avatar_file: Path) -> Scene:
    return Scene(sample_avatar_file)


def alike(ours: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Cosine of two displacement fields, ratio of their lengths."""
    a, b = np.linalg.norm(ours), np.linalg.norm(truth)
    return float((ours * truth).sum() / max(a * b, 1e-12)), float(a / max(b, 1e-12))


def felt(moved: np.ndarray) -> np.ndarray:
    """Squared displacement (N,) of what moves by more than a fifth of a millimetre.

    The linear pose components of the baked rig spread less than that over the whole body."""
    energy = np.square(moved).sum(1)
    return np.where(energy > 2e-4**2, energy, 0.0)


def side(moved: np.ndarray, at: np.ndarray) -> float:
    """-1 all on the person's right, 1 all on the left, by squared displacement."""
    energy = felt(moved)
    return float((energy * np.sign(at[:, 0])).sum() / max(energy.sum(), 1e-12))


@pytest.mark.parametrize("name", ARKIT_NAMES)
def test_a_face_control_moves_what_it_should(scene: Scene, name: str) -> None:
    ours, truth = scene.moves(PoseFrame.posed(arkit={name: 1.0}))
    if name in HIDDEN:
        assert np.linalg.norm(truth, axis=1).max() < 0.03
        return
    assert np.linalg.norm(truth, axis=1).max() > 5e-4, "the body itself does not move"
    cosine, ratio = alike(ours, truth)
    assert cosine > 0.85, f"{name}: direction {cosine:.3f}"
    assert 0.6 < ratio < 1.6, f"{name}: size {ratio:.3f}"
    # mouthLeft and jawLeft move the whole mouth to the left; the others move a part of the left side.
    if name.endswith(("Left", "Right")):
        sign = 1.0 if name.endswith("Left") else -1.0
        if name.startswith(("jaw", "mouthLeft", "mouthRight")):
            assert np.sign(ours[:, 0].sum()) == sign
        else:
            ours_side, body_side = side(ours, scene.rest) * sign, side(truth, scene.rest) * sign
            assert abs(ours_side - body_side) < 0.1, f"{name}: side {ours_side:.3f}, body {body_side:.3f}"
            # The body pulls the lower lip across the middle: 0.457 was measured.
            assert ours_side > (0.4 if name.startswith("mouthLowerDown") else 0.5)


def test_a_face_control_moves_nothing_below_the_neck(scene: Scene) -> None:
    touched = np.intersect1d(scene.avatar.correctives.arkit_index, np.flatnonzero(scene.on_body))
    assert len(touched) > 1000
    owners = set(np.array(JOINT_NAMES)[scene.samples.weights[touched].argmax(1)])
    # Skin between neck and trunk follows both, up to the shoulders.
    between = {"spine3", "left_collar", "right_collar", "left_shoulder", "right_shoulder"}
    assert owners <= {"neck", "head", "jaw", "left_eye_smplhf", "right_eye_smplhf"} | between, owners


@pytest.mark.parametrize("name", FINGERS)
def test_a_finger_joint_moves_its_finger(scene: Scene, name: str) -> None:
    turn = -0.5 if name.startswith("left") else 0.5
    axis = (0.0, -turn, 0.0) if "thumb" in name else (0.0, 0.0, turn)
    ours, truth = scene.moves(PoseFrame.posed({name: axis}))
    cosine, ratio = alike(ours, truth)
    direction, own_side = LEAKY.get(name, (0.95, 0.98))
    assert cosine > direction, f"{name}: direction {cosine:.3f}"
    assert 0.8 < ratio < 1.25, f"{name}: size {ratio:.3f}"
    here = side(ours, scene.rest) * (1 if name.startswith("left") else -1)
    assert here > own_side, f"{name}: its own side {here:.3f}"
    # Its own finger moves, and what hangs on it; the rest of the hand stays.
    finger = name[:-1]
    owner = np.array(JOINT_NAMES)[scene.samples.weights.argmax(1)]
    own = np.char.startswith(owner.astype(str), finger)
    energy = felt(ours)
    assert energy[own].sum() > 0.8 * energy.sum()


def test_gaze_turns_the_eye_it_names(scene: Scene) -> None:
    for eye, joint in enumerate(("left_eye_smplhf", "right_eye_smplhf")):
        gaze = np.zeros((2, 2), np.float32)
        gaze[eye, 0] = 0.3
        moved = scene.means(PoseFrame(gaze=gaze)) - scene.still
        ball = scene.samples.weights.argmax(1) == JOINT_INDEX[joint]
        energy = np.square(moved).sum(1)
        assert energy[ball].sum() > 0.95 * energy.sum()
        front = ball & (scene.still[:, 2] > np.quantile(scene.still[ball, 2], 0.8))
        assert moved[front, 0].mean() > 0.0005  # yaw > 0 looks to the person's left
