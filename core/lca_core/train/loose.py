"""Trains the node deformer of loose garments on simulated skirts and dresses: ``lca train loose``.

In: synthetic people of the training split in skirts, their cloth simulated through strides, steps and leg
raises. Out: ``loose.safetensors`` with a model card. Losses: distance to the simulated vertices, edge length
(as rigid as possible, Sorkine and Alexa 2007) and L1 on H. A few minutes on one core.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from lca.errors import InvalidInputError
from lca_core.data import cloth, motion, skinning
from lca_core.data.people import SPLITS, Person, sample_identity
from lca_core.data.procedural import SKIRTS
from lca_core.model.loose import INDEX, LooseNet, leg_weights, pinned_share

ARAP, SPARSE = 0.02, 2e-4
"""Weights of the edge and the sparsity loss against metres of distance, squared and divided by 1 cm^2."""


@dataclass(frozen=True)
class LooseOptions:
    """Choices of a run: garments of the training split, frames of each, optimisation steps, rate, seed."""

    garments: int = 28
    frames: int = 28
    steps: int = 1500
    rate: float = 4e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.garments, self.frames, self.steps) < 1:
            raise InvalidInputError("garments, frames and steps must be at least 1.")


@dataclass
class Example:
    """One garment in motion: rest (V,3) m, body weights (V,55) of its upper band, joints (55,3), transforms
    (T,55,4,4), truth (T,V,3) before translation, edges (E,2), waist and hem heights."""

    rest: NDArray[np.float32]
    weights: NDArray[np.float32]
    joints: NDArray[np.float32]
    transforms: NDArray[np.float32]
    truth: NDArray[np.float32]
    edges: NDArray[np.int64]
    waist: float
    hem: float


def wearers(split: str, count: int, start: int = 0) -> Iterator[int]:
    """Identity numbers of ``count`` people of a split in skirts or dresses."""
    low, high = SPLITS[split]
    for number in range(low + start, high):
        bottom = sample_identity(split, number).outfit.bottom
        if bottom is not None and bottom.kind in SKIRTS:
            yield number
            count -= 1
            if not count:
                return


def stride(rng: np.random.Generator, frames: int) -> list[motion.Pose]:
    """A step forward with each leg, a step aside and a leg raise, blended, ``frames`` at 30 per second."""
    keys = [np.zeros((55, 3))]
    first = str(rng.choice(["left", "right"]))
    for k in range(max(1, round(frames / 9))):
        side = first if k % 2 == 0 else {"left": "right", "right": "left"}[first]
        other = {"left": "right", "right": "left"}[side]
        pose = np.zeros((55, 3))
        kind = str(rng.choice(["walk", "walk", "raise", "aside"]))
        if kind == "walk":
            size = rng.uniform(0.25, 0.7)
            motion.set_leg(pose, side, hip=size, knee=rng.uniform(0.05, 0.5) * size, out=0.03)
            motion.set_leg(pose, other, hip=-0.7 * size, knee=rng.uniform(0.1, 0.7) * size, out=0.03)
        elif kind == "raise":
            size = rng.uniform(0.5, 1.15)
            motion.set_leg(pose, side, hip=size, knee=rng.uniform(0.6, 1.2) * size, out=0.05)
        else:
            motion.set_leg(pose, side, out=rng.uniform(0.15, 0.45))
            motion.set_leg(pose, other, out=rng.uniform(0.0, 0.2))
        keys.append(pose)
    at = np.linspace(0, len(keys) - 1, frames)
    low = np.minimum(at.astype(int), len(keys) - 2)
    part = (at - low)[:, None, None]
    part = part * part * (3 - 2 * part)
    table = np.stack(keys)
    poses = table[low] * (1 - part) + table[low + 1] * part
    still = (np.zeros(3, np.float32), np.zeros(52, np.float32), np.zeros((2, 2), np.float32))
    return [motion.Pose(p.astype(np.float32), *still) for p in poses]


def example(person: Person, poses: list[motion.Pose]) -> Example:
    """Simulate one person's garment. Raises InvalidInputError when there is none."""
    if person.skirt is None:
        raise InvalidInputError(f"Person {person.identity.number} wears no skirt.")
    skirt = person.skirt
    truth = cloth.drape(person, poses)[:, skirt.where]
    moved = np.stack(
        [skinning.joint_transforms(skinning.rotation_matrices(q.joints), person.joints) for q in poses]
    )
    y = skirt.rest[:, 1]
    return Example(
        skirt.rest.astype(np.float32), skirt.weights, person.joints.astype(np.float32),
        moved.astype(np.float32), truth.astype(np.float32), skirt.edges, float(y.max()), float(y.min()),
    )  # fmt: skip


class _Batch:
    """An example as tensors, the constant part of its skinning done."""

    def __init__(self, e: Example) -> None:
        self.x, self.joints = torch.from_numpy(e.rest), torch.from_numpy(e.joints)
        self.waist, self.hem = e.waist, e.hem
        x1 = np.concatenate([e.rest, np.ones((len(e.rest), 1), np.float32)], 1)
        keep = pinned_share(e.rest[:, 1], e.waist, e.hem)[:, None].astype(np.float32)
        self.free = torch.from_numpy(1 - keep)
        each = np.einsum("tjab,vb->tvja", e.transforms[:, list(INDEX), :3], x1)
        blend = np.einsum("vj,tjab->tvab", e.weights * keep, e.transforms[:, :, :3])
        self.each = torch.from_numpy(each)
        self.fixed = torch.from_numpy(np.einsum("tvab,vb->tva", blend, x1))
        self.truth = torch.from_numpy(e.truth)
        self.edges = torch.from_numpy(e.edges)
        self.length = self._lengths(self.x[None])[0].clamp(min=1e-4)

    def _lengths(self, x: Tensor) -> Tensor:
        return (x[:, self.edges[:, 0]] - x[:, self.edges[:, 1]]).norm(dim=2)

    def losses(self, net: LooseNet) -> tuple[Tensor, Tensor, Tensor]:
        w, h = leg_weights(net, self.x, self.joints, self.waist, self.hem)
        moved = self.fixed + ((w * self.free)[None, :, :, None] * self.each).sum(2)
        place = (moved - self.truth).square().sum(2).mean() / 1e-4
        ratio = self._lengths(moved) / self.length
        return place, (ratio - 1).square().mean() * 1e4, h.abs().mean()


def fit(examples: list[Example], options: LooseOptions, tell: Callable[[str], None]) -> LooseNet:
    """Train on examples; deterministic for the same ones and the same seed."""
    torch.manual_seed(options.seed)
    net = LooseNet()
    batches = [_Batch(e) for e in examples]
    order = np.random.default_rng(options.seed)
    optimiser = torch.optim.Adam(net.parameters(), lr=options.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    mean = [0.0, 0.0, 0.0]
    for step in range(options.steps):
        batch = batches[int(order.integers(len(batches)))]
        place, edge, sparse = batch.losses(net)
        optimiser.zero_grad()
        (place + ARAP * edge + 100 * SPARSE * sparse).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 20.0)
        optimiser.step()
        schedule.step()
        mean = [0.98 * m + 0.02 * v.item() for m, v in zip(mean, (place, edge, sparse), strict=True)]
        if step % 250 == 249:
            tell(f"step {step + 1}: {np.sqrt(mean[0]):.2f} cm, edges {mean[1]:.1f}, |H| {mean[2]:.2f}")
    return net


def train_loose(
    out: Path, options: LooseOptions | None = None, tell: Callable[[str], None] = print
) -> dict[str, float]:
    """Simulate, train, write ``out`` (.safetensors) and its card beside it; returns the run's numbers."""
    options = options or LooseOptions()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.process_time()
    examples = []
    for k, number in enumerate(wearers("train", options.garments)):
        rng = np.random.default_rng([options.seed, number])
        examples.append(example(Person(sample_identity("train", number)), stride(rng, options.frames)))
        if k % 7 == 6:
            tell(f"{k + 1} garments simulated, {time.process_time() - start:.0f} CPU-s")
    net = fit(examples, options, tell)
    with torch.no_grad():
        losses = [[float(v) for v in _Batch(e).losses(net)] for e in examples]
    place, edge, sparse = np.mean(losses, 0)
    facts = {
        "rms_cm": round(float(np.sqrt(place)), 3),
        "edge_rms_percent": round(float(np.sqrt(edge)), 2),
        "mean_abs_h": round(float(sparse), 3),
        "cpu_seconds": round(time.process_time() - start, 1),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, out)
    out.with_suffix(".md").write_text(_card(out, options, facts), encoding="utf-8")
    torch.set_num_threads(threads)
    return facts


def _card(out: Path, options: LooseOptions, facts: dict[str, float]) -> str:
    return f"""# {out.stem}: skin weights of skirts and dresses

What: the residual H of `W' = softmax(log W + H)` over pelvis, hips and knees at nodes of a loose garment
(`lca_core.model.loose`). Input is geometry only; it never sees pictures of anyone.

Data: garments of the training split of the synthetic generator (CC0 helper meshes), simulated by
`lca_core.data.cloth` in strides, side steps and leg raises. Flares above 1.5, and flares 1.15-1.30 with hems
-0.60 to -0.50 m, are held out.

Command: `lca train loose --out {out.name} --garments {options.garments} --frames {options.frames} --steps
{options.steps} --seed {options.seed}`

Options: `{json.dumps(asdict(options))}`

Training numbers: `{json.dumps(facts)}`

Held-out numbers: `lca eval loose --json` (docs/loose-garments.md).

Limits: single-layer skirts and dresses. Weights cannot swing, fold or lie on a chair; coats and capes are not
covered.

Licence: Apache-2.0.
"""
