"""The way back: a USD asset of ours becomes plain arrays from which an avatar can be built again.

Only files that state our deformation contract are read; anything else is refused rather than guessed at. What
USD does not carry (network features, light transfer, texels) is not invented here.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pxr import Tf, Usd, UsdSkel

from lca.errors import InvalidInputError, MediaUnreadableError
from lca_usd import arrays, proxy, skeleton
from lca_usd.contract import SCHEMA, VERSION_KEY
from lca_usd.rig import CONTROLS
from lca_usd.rules import RULES, SplatPrim
from lca_usd.splats import BODY
from lca_usd.transport import unwrapped

F32 = npt.NDArray[np.float32]
MAX_SPLATS = 5_000_000
MAX_TEXTURE = 64 * 2**20


@dataclass(frozen=True)
class SparseShapes:
    """52 sparse shapes as CSR: shape k owns rows ``ptr[k]:ptr[k+1]`` of ``index`` and of every value."""

    ptr: npt.NDArray[np.int32]
    index: npt.NDArray[np.int32]
    values: dict[str, F32]


@dataclass(frozen=True)
class UsdAvatar:
    """What a USD asset holds of an avatar; shapes as in :class:`lca_bridge.wire.package.AvatarPackage`.

    Attributes:
        info: provenance from the root layer (name, created, generator, inputsLicence, weights).
        canonical: means, quats, scales, opacities, sh. skinning: joints, joint_indices, joint_weights.
        shapes: ``arkit_*`` rows of the splats; pose: the pose correctives, absent (C = 0) unless exported.
        mesh: vertices, normals, faces, uvs, face_uvs, joint_indices, joint_weights; mesh_shapes its rows.
        texture: PNG bytes, or None.
    """

    info: dict[str, Any]
    joint_names: tuple[str, ...]
    canonical: dict[str, F32]
    skinning: dict[str, npt.NDArray[Any]]
    shapes: SparseShapes
    pose: dict[str, F32]
    mesh: dict[str, npt.NDArray[Any]]
    mesh_shapes: SparseShapes
    texture: bytes | None


def read_usd(path: str | os.PathLike[str], arkit_names: tuple[str, ...]) -> UsdAvatar:
    """Read a ``.usdz``, ``.usdc``, ``.usda`` or ``.usdz.zst`` that this exporter wrote.

    Args:
        arkit_names: the 52 names in Apple's order.

    Raises:
        NotFoundError: no such file.
        MediaUnreadableError: USD cannot open it.
        InvalidInputError: ``NOT_OUR_USD``; it lacks our splats, skeleton or mesh, breaks one of our rules or
            is too large.
    """
    with unwrapped(Path(path)) as file, _opened(file) as stage:
        root = stage.GetDefaultPrim()
        _show_everything(stage)
        body, mesh = stage.GetPrimAtPath(BODY), stage.GetPrimAtPath(proxy.PROXY)
        bones = UsdSkel.Skeleton(stage.GetPrimAtPath(skeleton.SKELETON))
        if not root or not bones or not body or not body.GetCustomDataByKey(VERSION_KEY):
            raise _foreign(file.name, f"it has no {SCHEMA} splats at {BODY}")
        if not mesh:
            raise _foreign(file.name, f"it has no proxy mesh at {proxy.PROXY}")
        splat = SplatPrim(body)
        if splat.count > MAX_SPLATS:
            raise _foreign(file.name, f"it claims {splat.count} splats, more than {MAX_SPLATS}")
        broken = [f"{rule.__name__}: {message}" for rule in RULES for message in rule(splat)]
        if broken:
            raise _foreign(file.name, f"its splats break a rule ({broken[0]})")
        try:
            return _read(stage, file, splat, mesh, bones, arkit_names)
        except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            raise _foreign(file.name, f"an array is missing or has the wrong shape ({error})") from error


def _read(
    stage: Usd.Stage,
    file: Path,
    splat: SplatPrim,
    mesh: Usd.Prim,
    bones: UsdSkel.Skeleton,
    arkit_names: tuple[str, ...],
) -> UsdAvatar:
    joints = np.array([list(m.ExtractTranslation()) for m in bones.GetBindTransformsAttr().Get()], np.float32)
    influences = splat.influences()
    if influences is None or joints.shape != (55, 3):
        raise ValueError("skeleton or skin")
    sh = splat.values("radiance:sphericalHarmonicsCoefficients")
    values = {name: splat.values(name) for name in ("orientations", "scales", "opacities")}
    if sh is None or any(value is None for value in values.values()):
        raise ValueError("splat attributes")
    shapes = _shape_prims(splat.prim)
    attribute = mesh.GetAttribute
    return UsdAvatar(
        info=dict(stage.GetRootLayer().customLayerData.get("lca", {})),
        joint_names=tuple(str(token).rsplit("/", 1)[-1] for token in bones.GetJointsAttr().Get()),
        canonical={
            "means": splat.positions,
            "quats": values["orientations"],  # type: ignore[dict-item]
            "scales": values["scales"],  # type: ignore[dict-item]
            "opacities": values["opacities"],  # type: ignore[dict-item]
            "sh": sh.reshape(splat.count, -1, 3),
        },
        skinning={"joints": joints, **_skin(*influences)},
        shapes=_sparse(shapes, arkit_names, 3, extra=True),
        pose=_pose(stage, shapes, splat.count),
        mesh={
            "vertices": np.asarray(attribute("points").Get(), np.float32),
            "normals": np.asarray(attribute("normals").Get(), np.float32),
            "faces": np.asarray(attribute("faceVertexIndices").Get(), np.int32).reshape(-1, 3),
            "uvs": np.asarray(attribute("primvars:st").Get(), np.float32),
            "face_uvs": np.asarray(attribute("primvars:st:indices").Get(), np.int32).reshape(-1, 3),
            **_skin(*_mesh_influences(mesh)),
        },
        mesh_shapes=_sparse(_shape_prims(mesh), arkit_names, 3),
        texture=_texture(stage, file),
    )


@contextmanager
def _opened(file: Path) -> Iterator[Usd.Stage]:
    try:
        stage = Usd.Stage.Open(str(file))
    except Tf.ErrorException as error:
        raise MediaUnreadableError(
            f"{file.name} is not a USD file that this library can open. Export it again."
        ) from error
    yield stage


def _show_everything(stage: Usd.Stage) -> None:
    """Activate every group in the session layer, whichever representation is selected."""
    with Usd.EditContext(stage, stage.GetSessionLayer()):
        for path in ("/Avatar/Geom/Splats", BODY, proxy.PROXY):
            if prim := stage.GetPrimAtPath(path):
                prim.SetActive(True)


def _skin(indices: Any, weights: Any, width: int) -> dict[str, npt.NDArray[Any]]:
    return {
        "joint_indices": np.asarray(indices).reshape(-1, width).astype(np.uint8),
        "joint_weights": np.asarray(weights, np.float32).reshape(-1, width),
    }


def _mesh_influences(mesh: Usd.Prim) -> tuple[Any, Any, int]:
    binding = UsdSkel.BindingAPI(mesh)
    indices, weights = binding.GetJointIndicesPrimvar(), binding.GetJointWeightsPrimvar()
    return np.asarray(indices.Get()), np.asarray(weights.Get()), indices.GetElementSize()


def _shape_prims(prim: Usd.Prim) -> dict[str, Usd.Prim]:
    binding, stage = UsdSkel.BindingAPI(prim), prim.GetStage()
    names = binding.GetBlendShapesAttr().Get() or []
    targets = binding.GetBlendShapeTargetsRel().GetTargets()
    return {str(name): stage.GetPrimAtPath(path) for name, path in zip(names, targets)}


EXTRA = (
    ("quats", "lca:orientationOffsets", 4),
    ("log_scales", "lca:scaleOffsets", 3),
    ("sh0", "lca:dcOffsets", 3),
)


def _rows(prim: Usd.Prim, extra: bool) -> tuple[npt.NDArray[np.int32], dict[str, F32]]:
    index = np.asarray(prim.GetAttribute("pointIndices").Get(), np.int32)
    values = {"means": np.asarray(prim.GetAttribute("offsets").Get(), np.float32).reshape(-1, 3)}
    for name, attribute, width in EXTRA if extra else ():
        authored = prim.GetAttribute(attribute)
        if not authored or authored.Get() is None:
            values[name] = np.zeros((len(index), width), np.float32)
        elif width == 4:
            values[name] = arrays.wxyz(authored.Get())
        else:
            values[name] = np.asarray(authored.Get(), np.float32)
    # A shape that moves nothing was written as one row of zeros.
    moved = np.any([value.any(axis=1) for value in values.values()], axis=0)
    return index[moved], {name: value[moved] for name, value in values.items()}


def _sparse(
    shapes: dict[str, Usd.Prim], names: tuple[str, ...], width: int, extra: bool = False
) -> SparseShapes:
    empty = {"means": np.zeros((0, width), np.float32)}
    empty |= {name: np.zeros((0, size), np.float32) for name, _, size in EXTRA if extra}
    rows = [
        _rows(shapes[name], extra) if name in shapes else (np.zeros(0, np.int32), empty) for name in names
    ]
    ptr = np.concatenate([[0], np.cumsum([len(index) for index, _ in rows])]).astype(np.int32)
    values = {key: np.concatenate([value[key] for _, value in rows]) for key in empty}
    return SparseShapes(ptr, np.concatenate([index for index, _ in rows]).astype(np.int32), values)


def _pose(stage: Usd.Stage, shapes: dict[str, Usd.Prim], count: int) -> dict[str, F32]:
    """Pose correctives as dense (C,N,.) deltas with their linear map; C = 0 when the asset carries none."""
    controls = stage.GetPrimAtPath(CONTROLS)
    listed = controls.GetAttribute("lca:pose:shapes") if controls else None
    names = [str(name) for name in listed.Get()] if listed and listed.Get() else []
    size = {"means": 3, "quats": 4, "log_scales": 3, "sh0": 3}
    out = {f"pose_{key}": np.zeros((len(names), count, width), np.float32) for key, width in size.items()}
    for number, name in enumerate(names):
        index, values = _rows(shapes[name], True)
        for key, value in values.items():
            out[f"pose_{key}"][number, index] = value
    mean = np.zeros(9 * 54, np.float32)
    basis = np.zeros((0, 9 * 54), np.float32)
    if names:
        mean = np.asarray(controls.GetAttribute("lca:pose:mean").Get(), np.float32)
        basis = np.asarray(controls.GetAttribute("lca:pose:basis").Get(), np.float32).reshape(len(names), -1)
    return {"pose_mean": mean, "pose_basis": basis, **out}


def _texture(stage: Usd.Stage, file: Path) -> bytes | None:
    """The proxy's PNG: inside the package, or beside the layer."""
    shader = stage.GetPrimAtPath("/Avatar/Looks/ProxyMaterial/Texture")
    asset = shader.GetAttribute("inputs:file").Get() if shader else None
    if asset is None:
        return None
    name = asset.path.removeprefix("./")
    if ".." in Path(name).parts or Path(name).is_absolute():
        return None
    if file.suffix.lower() == ".usdz":
        with zipfile.ZipFile(file) as archive:
            if archive.getinfo(name).file_size > MAX_TEXTURE:
                raise ValueError("texture size")
            return archive.read(name)
    beside = file.parent / name
    return beside.read_bytes() if beside.is_file() and beside.stat().st_size <= MAX_TEXTURE else None


def _foreign(name: str, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"{name} cannot become an avatar: {why}. Only USD assets exported by LCA Bridge can be imported.",
        reason="NOT_OUR_USD",
    )
