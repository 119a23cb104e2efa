"""The embedded body: shape, expression and pose parameters in, vertices and joints out, differentiable in
torch.

Reads any npz in SMPL-X layout without unpickling; the default is the CC0 body shipped in ``assets``. Metres,
Y up, facing +Z, the person's left at +X; zero pose is the T-pose with the pelvis joint at the origin (mean
shape).
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lca.errors import InvalidInputError, NotFoundError
from lca_core.body.lbs import joint_transforms, skin_points
from lca_core.body.names import JOINT_PARENTS, NUM_ARKIT, NUM_JOINTS
from lca_core.body.rotation import axis_angle_to_matrix

BODY_FILE = Path(__file__).parent / "assets" / "lca_body_v1.npz"
FIRST_EXPRESSION = 300
"""Column of ``shapedirs`` where expressions begin in the SMPL-X layout."""
NUM_POSE_FEATURES = (NUM_JOINTS - 1) * 9
_REQUIRED = (
    "v_template",
    "f",
    "shapedirs",
    "posedirs",
    "J_regressor",
    "weights",
    "kintree_table",
    "vt",
    "ft",
)


@dataclass(frozen=True)
class BodyOutput:
    """A posed body.

    Attributes:
        vertices: ``[B, V, 3]`` metres, translation included.
        joints: ``[B, 55, 3]`` metres, translation included.
        transforms: skinning matrices A ``[B, 55, 4, 4]`` from rest to posed space, *without* the translation.
        rest_vertices, rest_joints: the same person and expression unposed, ``[B, V, 3]`` and ``[B, 55, 3]``.
    """

    vertices: Tensor
    joints: Tensor
    transforms: Tensor
    rest_vertices: Tensor
    rest_joints: Tensor


class BodyModel(nn.Module):
    """Linear body model; see :meth:`load` for its data and :meth:`forward` for its use.

    Buffers (float32): ``v_template (V,3)``, ``shapedirs (V,3,num_betas)``, ``expr_dirs (V,3,52)``,
    ``J_regressor (55,V)``, ``weights (V,55)``, ``uvs (T,2)`` v up. Integer buffers: ``faces (F,3)``,
    ``face_uvs (F,3)`` into ``uvs``, ``parents (55,)``, ``part (V,)`` 0 skin, 1 tongue, 2 left and 3 right
    eyeball. ``cavity (V,)`` is true on inner surfaces (mouth, sockets, nostrils) that carry no Gaussians.
    """

    v_template: Tensor
    shapedirs: Tensor
    expr_dirs: Tensor
    J_regressor: Tensor
    weights: Tensor
    uvs: Tensor
    faces: Tensor
    face_uvs: Tensor
    parents: Tensor
    part: Tensor
    cavity: Tensor
    joint_template: Tensor
    joint_dirs: Tensor
    pose_columns: Tensor
    pose_rows: Tensor
    pose_dirs: Tensor

    def __init__(self, arrays: dict[str, np.ndarray], num_betas: int = 50) -> None:
        super().__init__()
        _check(arrays, num_betas)
        shapedirs = arrays["shapedirs"]
        end = FIRST_EXPRESSION + NUM_ARKIT
        count = len(arrays["v_template"])

        def keep(name: str, value: np.ndarray, dtype: torch.dtype = torch.float32) -> None:
            tensor = torch.from_numpy(np.ascontiguousarray(value)).to(dtype)
            self.register_buffer(name, tensor, persistent=False)

        keep("v_template", arrays["v_template"])
        keep("shapedirs", shapedirs[:, :, :num_betas])
        keep("expr_dirs", shapedirs[:, :, FIRST_EXPRESSION:end])
        keep("J_regressor", arrays["J_regressor"])
        keep("weights", arrays["weights"])
        keep("uvs", arrays["vt"])
        keep("faces", arrays["f"].astype(np.int64), torch.int64)
        keep("face_uvs", arrays["ft"].astype(np.int64), torch.int64)
        keep("parents", np.asarray(JOINT_PARENTS, np.int64), torch.int64)
        keep("part", arrays.get("part", np.zeros(count, np.int64)).astype(np.int64), torch.int64)
        keep("cavity", arrays.get("cavity", np.zeros(count, bool)).astype(bool), torch.bool)

        regressor = arrays["J_regressor"].astype(np.float64)
        keep("joint_template", regressor @ arrays["v_template"])
        keep("joint_dirs", np.einsum("jv,vck->jck", regressor, shapedirs[:, :, :num_betas], optimize=True))
        # Only the columns and vertices that a pose corrective really uses are kept (8 of 486 in our body).
        posedirs = arrays["posedirs"]
        used = np.abs(posedirs) > 0
        columns = np.flatnonzero(used.any(axis=(0, 1)))
        rows = np.flatnonzero(used.any(axis=(1, 2)))
        keep("pose_columns", columns, torch.int64)
        keep("pose_rows", rows, torch.int64)
        keep("pose_dirs", posedirs[np.ix_(rows, np.arange(3), columns)])

    @classmethod
    def load(cls, path: Path | None = None, num_betas: int = 50) -> BodyModel:
        """Read a body file.

        Args:
            path: npz in SMPL-X layout; the shipped CC0 body if omitted.
            num_betas: how many shape components to keep, 1-300 (ours has 50).

        Raises:
            NotFoundError: there is no such file.
            InvalidInputError: the file is not an npz in SMPL-X layout, or its arrays do not fit together.
        """
        path = Path(path) if path is not None else BODY_FILE
        if not path.exists():
            raise NotFoundError(
                f"No body file {path.name}; reinstall the package or pass the path of an npz."
            )
        try:
            with np.load(path, allow_pickle=False) as archive:
                names = [n for n in (*_REQUIRED, "part", "cavity") if n in archive.files]
                arrays = {name: archive[name] for name in names}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise InvalidInputError(
                f"{path.name} is not a readable body npz ({error}); use one in SMPL-X layout, unpickled."
            ) from error
        return cls(arrays, num_betas)

    @property
    def num_betas(self) -> int:
        """Number of shape components."""
        return int(self.shapedirs.shape[2])

    @property
    def vt(self) -> Tensor:
        """SMPL-X name of :attr:`uvs`."""
        return self.uvs

    @property
    def ft(self) -> Tensor:
        """SMPL-X name of :attr:`face_uvs`."""
        return self.face_uvs

    def rest(self, betas: Tensor, expression: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The unposed person.

        Args:
            betas: ``[B, num_betas]``, unit variance; zeros are the mean adult.
            expression: ARKit weights ``[B, 52]`` (B may be 1), or ``None`` for a neutral face.

        Returns:
            vertices ``[B, V, 3]`` and joints ``[B, 55, 3]``; the joints depend on the betas only.
        """
        _require("betas", betas, (self.num_betas,))
        offsets = betas @ self.shapedirs.flatten(0, 1).T
        if expression is not None:
            _require("expression", expression, (NUM_ARKIT,))
            offsets = offsets + expression @ self.expr_dirs.flatten(0, 1).T
        vertices = self.v_template + offsets.unflatten(-1, (-1, 3))
        joints = self.joint_template + (betas @ self.joint_dirs.flatten(0, 1).T).unflatten(-1, (-1, 3))
        return vertices, joints.expand(len(vertices), -1, -1)

    def pose_correctives(self, rotmats: Tensor) -> Tensor:
        """Pose-dependent offsets ``[B, len(pose_rows), 3]`` of the vertices ``pose_rows``.

        ``rotmats [B, 55, 3, 3]``; the feature is (R - I) of joints 1..54, flattened row by row.
        """
        eye = torch.eye(3, dtype=rotmats.dtype, device=rotmats.device)
        feature = (rotmats[:, 1:] - eye).flatten(1)[:, self.pose_columns]
        return (feature @ self.pose_dirs.flatten(0, 1).T).unflatten(-1, (-1, 3))

    def forward(
        self,
        betas: Tensor,
        pose: Tensor,
        transl: Tensor | None = None,
        expression: Tensor | None = None,
    ) -> BodyOutput:
        """Pose a person.

        Args:
            betas: ``[B, num_betas]`` (or B = 1 for one person in many poses).
            pose: local axis-angle of every joint ``[B, 55, 3]``, radians, SMPL-X order; joint 0 turns the
                whole body about the pelvis joint.
            transl: ``[B, 3]`` metres, added last; ``None`` is zero.
            expression: ARKit weights ``[B, 52]`` or ``None``.

        Raises:
            InvalidInputError: a tensor has the wrong shape.
        """
        _require("pose", pose, (NUM_JOINTS, 3))
        sizes = {len(t) for t in (betas, pose, transl, expression) if t is not None} - {1}
        if len(sizes) > 1:
            raise InvalidInputError(f"Batch sizes {sorted(sizes)} do not match; give all the same, or 1.")
        rest_vertices, rest_joints = self.rest(betas, expression)
        batch = max(len(pose), len(rest_vertices))
        rest_vertices, rest_joints = rest_vertices.expand(batch, -1, -1), rest_joints.expand(batch, -1, -1)
        rotmats = axis_angle_to_matrix(pose).expand(batch, -1, -1, -1)
        shaped = rest_vertices
        if len(self.pose_columns):
            shaped = shaped.index_add(1, self.pose_rows, self.pose_correctives(rotmats))
        joints, transforms = joint_transforms(rotmats, rest_joints, JOINT_PARENTS)
        vertices = skin_points(shaped, self.weights, transforms)
        if transl is not None:
            _require("transl", transl, (3,))
            vertices, joints = vertices + transl[:, None], joints + transl[:, None]
        return BodyOutput(vertices, joints, transforms, rest_vertices, rest_joints)


def _require(name: str, tensor: Tensor, tail: tuple[int, ...]) -> None:
    if tensor.shape[1:] != torch.Size(tail) or tensor.ndim != len(tail) + 1:
        wanted = ", ".join(str(n) for n in ("B", *tail))
        raise InvalidInputError(f"{name} must have shape [{wanted}], not {list(tensor.shape)}.")


def _check(arrays: dict[str, np.ndarray], num_betas: int) -> None:
    missing = [name for name in _REQUIRED if name not in arrays]
    if missing:
        raise InvalidInputError(f"The body file lacks {', '.join(missing)}; use a file in SMPL-X layout.")
    count = len(arrays["v_template"])
    expected = {
        "v_template": (count, 3),
        "J_regressor": (NUM_JOINTS, count),
        "weights": (count, NUM_JOINTS),
        "posedirs": (count, 3, NUM_POSE_FEATURES),
        "kintree_table": (2, NUM_JOINTS),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise InvalidInputError(f"{name} of the body file is {arrays[name].shape}, expected {shape}.")
    slots = arrays["shapedirs"].shape
    if slots[:2] != (count, 3) or len(slots) != 3 or slots[2] < FIRST_EXPRESSION + NUM_ARKIT:
        raise InvalidInputError(f"shapedirs of the body file is {slots}, expected ({count}, 3, 400).")
    if not 1 <= num_betas <= FIRST_EXPRESSION:
        raise InvalidInputError(f"num_betas must be 1 to {FIRST_EXPRESSION}, not {num_betas}.")
    parents = arrays["kintree_table"][0].astype(np.int64)
    if tuple(parents[1:]) != JOINT_PARENTS[1:]:
        raise InvalidInputError(
            "The body file has another skeleton than SMPL-X; its kintree_table does not match."
        )
    for name, limit in (("f", count), ("ft", len(arrays["vt"]))):
        if arrays[name].min() < 0 or arrays[name].max() >= limit:
            raise InvalidInputError(f"{name} of the body file points beyond {limit} entries.")
    if not np.allclose(arrays["weights"].sum(axis=1), 1.0, atol=1e-4):
        raise InvalidInputError("The skin weights of the body file do not sum to 1 per vertex.")
    for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "vt"):
        if not np.isfinite(arrays[name]).all():
            raise InvalidInputError(f"{name} of the body file contains NaN or infinity.")
