"""Training examples: one synthetic person -> references with augmentation, texel views, and targets on the
UV grid.

Input is the sample format of ``lca_core.data`` (a dict of arrays, usually one ``.npz`` per person).
Everything
random comes from the generator that is passed in, so a step number fixes the example.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lca.errors import InvalidInputError
from lca_core.data.people import SPLITS
from lca_core.model.config import ModelConfig
from lca_core.model.dressed import dressed_shape
from lca_core.model.inverse_texture import TexelViews, sample_views
from lca_core.model.references import References, collate, prepare_references
from lca_core.model.template import Template

SURFACE, SEEN, CAVITY, CLOTH, HAIR, LOOSE = 1, 2, 4, 8, 16, 32
"""Bits of ``uv_validity``."""

Sample = dict[str, Any]


@dataclass(frozen=True)
class Augmentation:
    """What happens to the inputs (never to geometry targets). Standard deviations; drawn once per person
    and step.

    joint_degrees / root_degrees / shift_metres: tracking noise on the reference poses; light: common gain per
    channel, applied to images and lit target alike; view_gain: exposure differences between views, inputs
    only.
    """

    joint_degrees: float = 2.0
    root_degrees: float = 1.0
    shift_metres: float = 0.01
    light: float = 0.15
    view_gain: float = 0.03
    dressed_projection: float = 0.6

    @staticmethod
    def none() -> Augmentation:
        """Exact inputs, for evaluation."""
        return Augmentation(0, 0, 0, 0, 0, 0)


@dataclass
class Targets:
    """Ground truth on the UV grid; every map [B,C,U,U] unless said otherwise.

    color, albedo sRGB 0-1; offset m; surface, loose 0/1; log_scale (3) and quat wxyz (4) of the dressed
    surface in
    the tangent frame; drive_* one target frame per person: pose [B,55,3], expression [B,52], gaze [B,2,2],
    transforms [B,55,4,4], template [B,3,U,U] and correction [B,3,U,U] m.
    """

    color: Tensor
    albedo: Tensor
    offset: Tensor
    surface: Tensor
    loose: Tensor
    log_scale: Tensor
    quat: Tensor
    drive_pose: Tensor
    drive_expression: Tensor
    drive_gaze: Tensor
    drive_transforms: Tensor
    drive_template: Tensor
    correction: Tensor


@dataclass
class Batch:
    """Inputs and targets of one step.

    ``samples``, ``lights`` [3] (gain of the common light) and ``used`` (reference views) per person: what
    rendered losses need to choose and expose their target frames.
    """

    refs: References
    views: TexelViews
    targets: Targets
    samples: list[Sample] = field(default_factory=list)
    lights: list[NDArray[np.floating]] = field(default_factory=list)
    used: list[list[int]] = field(default_factory=list)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on ``device``."""
        if torch.device(device).type == "cpu":
            return self
        views = TexelViews(**{f.name: getattr(self.views, f.name).to(device) for f in fields(TexelViews)})
        targets = Targets(**{f.name: getattr(self.targets, f.name).to(device) for f in fields(Targets)})
        return Batch(self.refs.to(device), views, targets, self.samples, self.lights, self.used)


def stack(parts: Sequence[Any], kind: type) -> Any:
    """Concatenate dataclasses of tensors along the batch."""
    return kind(**{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(kind)})


class SampleFolder:
    """People stored as ``person_<identity number>.npz`` in ``folder`` or below it, read on demand.

    The identity number says which split a person belongs to (``lca_core.data.people.SPLITS``), so a held-out
    person can never be trained on. Up to ``keep`` people stay in memory.

    Args:
        split: ``train``, ``val`` or ``test``.
    """

    def __init__(self, folder: Path, split: str, keep: int = 800) -> None:
        if split not in SPLITS:
            raise InvalidInputError(f"There is no split {split!r}; use one of {', '.join(SPLITS)}.")
        self.folder = Path(folder)
        self.split = split
        self.keep = keep
        self._cache: OrderedDict[Path, Sample] = OrderedDict()
        self.files: list[Path] = []
        self.refresh()
        if not self.files:
            raise InvalidInputError(
                f"No people of the split {split} in the folder {self.folder.name}; generate some with "
                f"'python -m lca_core.data.generate --split {split} --out {self.folder.name}/{split}'."
            )

    def refresh(self) -> int:
        """Look for new files; returns the number of people."""
        low, high = SPLITS[self.split]
        found = {}
        for path in self.folder.rglob("person_*.npz"):
            digits = path.stem.removeprefix("person_")
            if digits.isdigit() and low <= int(digits) < high:
                found[int(digits)] = path
        self.files = [found[number] for number in sorted(found)]
        return len(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        path = self.files[index]
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        with np.load(path, allow_pickle=False) as file:
            sample = {k: file[k] for k in file.files}
        self._cache[path] = sample
        while len(self._cache) > self.keep:
            self._cache.popitem(last=False)
        return sample


# fmt: off
REQUIRED = (
    "images", "masks", "Ks", "viewmats", "pose", "transl", "expression", "gaze", "betas",
    "uv_albedo", "uv_color", "uv_offset", "uv_validity", "uv_correction",
)
# fmt: on


def check_sample(sample: Sample) -> None:
    """Raise InvalidInputError when a sample lacks fields of the contract or has disagreeing shapes."""
    missing = [k for k in REQUIRED if k not in sample]
    if missing:
        raise InvalidInputError(f"A training sample lacks {', '.join(missing)}; regenerate the data set.")
    v, u = len(sample["images"]), len(sample["uv_albedo"])
    if sample["uv_correction"].shape != (v, u, u, 3):
        raise InvalidInputError(
            f"uv_correction is {sample['uv_correction'].shape}; {v} views on a {u} grid need {(v, u, u, 3)}."
        )


def make_example(
    sample: Sample,
    views: Sequence[int],
    drive: int,
    config: ModelConfig,
    template: Template,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> Batch:
    """One person as a batch of one: references ``views``, correction target ``drive`` (a view index)."""
    views = list(views)
    betas = np.asarray(sample["betas"], np.float32)
    pose = np.asarray(sample["pose"], np.float32)
    transl = np.asarray(sample["transl"], np.float32)
    expression = np.asarray(sample["expression"], np.float32)
    targets = uv_targets(sample, template)

    noise = rng.uniform(0, 1)
    seen_pose, seen_transl = pose[views].copy(), transl[views].copy()
    if augmentation.joint_degrees:
        sd = np.full((1, 22, 1), np.deg2rad(augmentation.joint_degrees))
        sd[:, 0] = np.deg2rad(augmentation.root_degrees)
        seen_pose[:, :22] += noise * sd * rng.standard_normal((len(views), 22, 3))
        seen_transl += noise * augmentation.shift_metres * rng.standard_normal(seen_transl.shape)
    light = np.exp(augmentation.light * rng.standard_normal() * np.ones(3) * 0.7)
    light = light * np.exp(augmentation.light * 0.3 * rng.standard_normal(3))
    frames = []
    for i in views:
        frame = sample["images"][i]
        if augmentation.light or augmentation.view_gain:
            gain = light * np.exp(augmentation.view_gain * rng.standard_normal(3))
            frame = np.clip(frame * gain, 0, 255).astype(np.uint8)
        frames.append(frame)
    targets["color"] = (targets["color"] * torch.as_tensor(light, dtype=torch.float32)[:, None, None]).clamp(
        0, 1
    )
    refs = prepare_references(
        frames,
        [sample["masks"][i] for i in views],
        np.asarray(sample["Ks"])[views],
        np.asarray(sample["viewmats"])[views],
        seen_pose,
        seen_transl,
        expression[views],
        np.asarray(sample["gaze"])[views],
        betas,
        config,
        template,
    )
    # Creation projects twice, the second time with the clothing predicted by the first. Both cases are
    # trained.
    dressed = None
    if rng.uniform() < augmentation.dressed_projection:
        dressed = targets["offset"][None] * float(rng.uniform(0.6, 1.0))
    located = sample_views(template, refs, dressed)
    shape = torch.from_numpy(betas)[None]
    drive_pose = torch.from_numpy(pose[drive])[None]
    drive_expression = torch.from_numpy(expression[drive])[None]
    transforms = template.transforms(
        betas, pose[drive : drive + 1], transl[drive : drive + 1], expression[drive][None]
    )
    return Batch(
        refs,
        located,
        Targets(
            **{k: v[None] for k, v in targets.items()},
            drive_pose=drive_pose,
            drive_expression=drive_expression,
            drive_gaze=torch.as_tensor(np.asarray(sample["gaze"][drive], np.float32))[None],
            drive_transforms=torch.from_numpy(transforms),
            drive_template=template.corrective(shape, drive_pose, drive_expression),
            correction=_correction(sample, drive, template)[None],
        ),
        [sample],
        [np.asarray(light, np.float32)],
        [views],
    )


def _down(values: NDArray[Any], keep: NDArray[np.bool_], size: int) -> Tensor:
    """[U,U,C] -> [C,size,size]; averages only texels of ``keep``, so classes do not mix."""
    u = values.shape[0]
    x = torch.from_numpy(np.ascontiguousarray(values, np.float32)).permute(2, 0, 1)
    if u == size:
        return x
    if u % size:
        raise InvalidInputError(f"UV maps of {u} cannot be reduced to {size}.")
    weight = torch.from_numpy(keep.astype(np.float32))[None]
    total = F.avg_pool2d((x * weight)[None], u // size)[0]
    return total / F.avg_pool2d(weight[None], u // size)[0].clamp(min=1e-6)


def uv_targets(sample: Sample, template: Template) -> dict[str, Tensor]:
    """Maps of one person at the template's grid, without batch dimension (see :class:`Targets`)."""
    size = template.size
    bits = np.asarray(sample["uv_validity"])
    solid = (bits & SURFACE) > 0

    def flag(bit: int) -> Tensor:
        return (_down(((bits & bit) > 0)[..., None], np.ones_like(solid), size) >= 0.5).float()

    carries = template.carries_map[0]
    surface = flag(SURFACE) * (1 - flag(CAVITY)) * carries
    offset = _down(sample["uv_offset"], solid, size) * surface
    out = {
        "color": _down(sample["uv_color"], solid, size) / 255,
        "albedo": _down(sample["uv_albedo"], solid, size) / 255,
        "offset": offset,
        "surface": surface,
        "loose": flag(LOOSE) * surface,
    }
    rest = template.rest(torch.as_tensor(np.asarray(sample["betas"], np.float32))[None])
    out["log_scale"], out["quat"] = dressed_shape(rest.position[0], rest.frame[0], offset, surface)
    return out


def _correction(sample: Sample, view: int, template: Template) -> Tensor:
    solid = (np.asarray(sample["uv_validity"]) & SURFACE) > 0
    values = np.nan_to_num(np.asarray(sample["uv_correction"][view], np.float32))
    return _down(values, solid, template.size)


def make_batch(parts: Sequence[Batch]) -> Batch:
    """Stack people."""
    refs = collate([p.refs for p in parts])
    n = refs.images.shape[1]
    padded = []
    for p in parts:
        missing = n - p.views.weight.shape[1]
        grid = torch.cat([p.views.grid, p.views.grid[:, :1].expand(-1, missing, -1, -1, -1)], 1)
        weight = torch.cat(
            [p.views.weight, torch.zeros_like(p.views.weight[:, :1]).expand(-1, missing, -1, -1)], 1
        )
        v = p.views
        padded.append(TexelViews(grid, weight, v.color, v.hit, v.cosine, v.variance))
    return Batch(
        refs,
        stack(padded, TexelViews),
        stack([p.targets for p in parts], Targets),
        [s for p in parts for s in p.samples],
        [x for p in parts for x in p.lights],
        [u for p in parts for u in p.used],
    )


VIEW_COUNTS = (1, 2, 3, 4, 6)
VIEW_CHANCES = (0.36, 0.22, 0.17, 0.21, 0.04)


def draw_batch(
    people: Any,
    step: int,
    seed: int,
    size: int,
    config: ModelConfig,
    template: Template,
    augmentation: Augmentation,
) -> Batch:
    """The batch of ``step``: a function of (people, step, seed) only, so a resumed run sees the same data."""
    rng = np.random.default_rng([seed, step])
    count = int(rng.choice(VIEW_COUNTS, p=VIEW_CHANCES))
    parts = []
    for index in rng.choice(len(people), size=size, replace=len(people) < size):
        sample = people[int(index)]
        check_sample(sample)
        total = len(sample["images"])
        views = [int(v) for v in rng.permutation(total)[: min(count, total)]]
        parts.append(
            make_example(sample, views, int(rng.integers(total)), config, template, augmentation, rng)
        )
    return make_batch(parts)
