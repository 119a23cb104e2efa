"""glTF: an avatar as one ``.glb``: a skinned, textured proxy mesh that has the 52 ARKit morph targets, and
the splats at rest as a `KHR_gaussian_splatting` point primitive.

Readers without the extension show the mesh and, at most, coloured points. The splats' skin (JOINTS_0,
WEIGHTS_0) is written too, so an engine that skins splats needs no other file; the extension itself says
nothing about skinning.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lca.errors import InvalidInputError
from lca_bridge.wire.package import AvatarPackage
from lca_usd.asset import Asset, Mesh, Splats, load_asset
from lca_usd.files import staging

EXTENSION = "KHR_gaussian_splatting"
COLOUR_SPACE = "srgb_rec709_display"
SH_C0 = 0.28209479177387814

FLOAT, UBYTE, USHORT, UINT = 5126, 5121, 5123, 5125
ARRAY_BUFFER, ELEMENT_BUFFER = 34962, 34963
POINTS, TRIANGLES = 0, 4
TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 2: "VEC2", 16: "MAT4"}
COMPONENTS: dict[str, int] = {"f4": FLOAT, "u1": UBYTE, "u2": USHORT, "u4": UINT}
MAGIC, JSON_CHUNK, BIN_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942


def export_glb(
    package: str | os.PathLike[str] | AvatarPackage,
    out_path: str | os.PathLike[str],
    *,
    splats: bool = True,
) -> Path:
    """Write the avatar as binary glTF 2.0.

    Args:
        splats: False leaves the Gaussian splats out and writes the mesh alone.

    Raises:
        InvalidInputError: the name does not end in ``.glb``; ``NO_PROXY``, the avatar has no proxy mesh.
        LcaError: what the package reader raises.
    """
    target = Path(out_path)
    if target.suffix.lower() != ".glb":
        raise InvalidInputError(f"{target.name} is not a .glb name; give the file that ending.")
    asset = load_asset(package, pose_shapes=False)
    if asset.mesh is None:
        raise InvalidInputError(
            "This avatar file holds no proxy mesh, which glTF needs. Create the avatar again.",
            reason="NO_PROXY",
        )
    with staging(target) as folder:
        (folder / target.name).write_bytes(glb_bytes(asset, asset.mesh, splats))
    return target


def glb_bytes(asset: Asset, mesh: Mesh, splats: bool = True) -> bytes:
    """The whole file: header, JSON chunk, binary chunk."""
    data = _Buffer()
    joints = len(asset.rig.joint_names)
    nodes: list[dict[str, Any]] = [
        {"name": name, "translation": [float(x) for x in offset]}
        for name, offset in zip(asset.rig.joint_names, asset.local_joints)
    ]
    for joint, parent in enumerate(asset.rig.joint_parents):
        if parent >= 0:
            nodes[parent].setdefault("children", []).append(joint)
    inverse = np.tile(np.eye(4, dtype=np.float32), (joints, 1, 1))
    inverse[:, 3, :3] = -asset.joints  # column-major, so the translation is the last row here
    root = asset.rig.joint_parents.index(-1)
    skin = {
        "joints": list(range(joints)),
        "skeleton": root,
        "inverseBindMatrices": data.accessor(inverse.reshape(joints, 16)),
    }
    meshes = [_mesh(data, mesh)]
    nodes.append({"name": "proxy", "mesh": 0, "skin": 0})
    scene = [root, joints]
    if splats:
        meshes.append(_splats(data, asset.splats))
        nodes.append({"name": "splats", "mesh": 1, "skin": 0})
        scene.append(joints + 1)
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": str(asset.info.get("generator", "LCA Bridge"))},
        "scene": 0,
        "scenes": [{"name": asset.name, "nodes": scene}],
        "nodes": nodes,
        "skins": [skin],
        "meshes": meshes,
        "materials": [_material(mesh, data)],
        "extras": {
            "lca": {
                "controls": _controls(asset),
                "names": {k: dict(v) for k, v in asset.rig.name_maps.items()},
            }
        },
    }
    if mesh.texture is not None:
        document["images"] = [{"bufferView": data.view(mesh.texture, None), "mimeType": "image/png"}]
        document["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}]
        document["textures"] = [{"source": 0, "sampler": 0}]
    if splats:
        document["extensionsUsed"] = [EXTENSION]
    document["accessors"], document["bufferViews"] = data.accessors, data.views
    document["buffers"] = [{"byteLength": len(data.data)}]
    return _chunks(document, bytes(data.data))


class _Buffer:
    """The one binary buffer: every array 4-byte aligned in a view of its own."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, content: bytes, target: int | None) -> int:
        self.data.extend(b"\0" * (-len(self.data) % 4))
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
        if target is not None:
            view["target"] = target
        self.data.extend(content)
        self.views.append(view)
        return len(self.views) - 1

    def accessor(
        self,
        values: npt.NDArray[Any],
        target: int | None = None,
        bounds: bool = False,
        normalized: bool = False,
    ) -> int:
        """(N,) or (N,width) of f4, u1, u2 or u4 -> accessor number."""
        array = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        entry: dict[str, Any] = {
            "bufferView": self.view(array.tobytes(), target),
            "componentType": COMPONENTS[array.dtype.str[1:]],
            "count": len(array),
            "type": TYPES[1 if array.ndim == 1 else array.shape[1]],
        }
        if bounds:
            entry["min"], entry["max"] = array.min(axis=0).tolist(), array.max(axis=0).tolist()
        if normalized:
            entry["normalized"] = True
        self.accessors.append(entry)
        return len(self.accessors) - 1

    def sparse(self, count: int, index: npt.NDArray[Any], values: npt.NDArray[np.float32]) -> int:
        """A VEC3 accessor of zeros except at the rows ``index`` (ascending, unique)."""
        low, high = np.zeros(3, np.float32), np.zeros(3, np.float32)
        entry: dict[str, Any] = {"componentType": FLOAT, "count": count, "type": "VEC3"}
        if len(index):
            low, high = np.minimum(values.min(axis=0), 0), np.maximum(values.max(axis=0), 0)
            if len(index) == count:
                low, high = values.min(axis=0), values.max(axis=0)
            entry["sparse"] = {
                "count": len(index),
                "indices": {
                    "bufferView": self.view(np.ascontiguousarray(index, "<u4").tobytes(), None),
                    "componentType": UINT,
                },
                "values": {"bufferView": self.view(np.ascontiguousarray(values, "<f4").tobytes(), None)},
            }
        entry["min"], entry["max"] = low.tolist(), high.tolist()
        self.accessors.append(entry)
        return len(self.accessors) - 1


def _mesh(data: _Buffer, mesh: Mesh) -> dict[str, Any]:
    """Triangles with one vertex for each pair of point and texture point; morph targets are sparse."""
    pairs = np.stack([mesh.faces.ravel(), mesh.face_uvs.ravel()], 1)
    unique, corner = np.unique(pairs, axis=0, return_inverse=True)
    point, texture = unique[:, 0], unique[:, 1]
    uv = mesh.uvs[texture] * np.array([1, -1], np.float32) + np.array(
        [0, 1], np.float32
    )  # glTF counts v downwards
    indices, weights = _influences(mesh.joint_indices[point], mesh.joint_weights[point])
    count = len(unique)
    attributes = {
        "POSITION": data.accessor(mesh.vertices[point], ARRAY_BUFFER, bounds=True),
        "NORMAL": data.accessor(_unit(mesh.normals[point]), ARRAY_BUFFER),
        "TEXCOORD_0": data.accessor(uv.astype(np.float32), ARRAY_BUFFER),
        "JOINTS_0": data.accessor(indices, ARRAY_BUFFER),
        "WEIGHTS_0": data.accessor(weights, ARRAY_BUFFER, normalized=True),
    }
    targets = []
    for shape in mesh.shapes:
        row = np.full(len(mesh.vertices), -1)
        row[shape.index] = np.arange(len(shape.index))
        moved = np.flatnonzero(row[point] >= 0)
        targets.append({"POSITION": data.sparse(count, moved, shape.offsets[row[point][moved]])})
    return {
        "name": "proxy",
        "primitives": [
            {
                "mode": TRIANGLES,
                "attributes": attributes,
                "indices": data.accessor(corner.ravel().astype(np.uint32), ELEMENT_BUFFER),
                "material": 0,
                "targets": targets,
            }
        ],
        "weights": [0.0] * len(targets),
        "extras": {"targetNames": [shape.name for shape in mesh.shapes]},
    }


def _splats(data: _Buffer, splats: Splats) -> dict[str, Any]:
    """The point primitive of the extension: linear scales and opacities, xyzw rotations, SH band by band."""
    colour = np.clip(0.5 + SH_C0 * splats.sh[:, 0], 0, 1)
    # COLOR_0 is linear by the glTF specification; the coefficients stay display-referred.
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    rgba = np.concatenate([linear, splats.opacities[:, None]], axis=1)
    indices, weights = _influences(splats.joint_indices, splats.joint_weights)
    attributes = {
        "POSITION": data.accessor(splats.means, ARRAY_BUFFER, bounds=True),
        "COLOR_0": data.accessor(np.round(rgba * 255).astype(np.uint8), ARRAY_BUFFER, normalized=True),
        "JOINTS_0": data.accessor(indices, ARRAY_BUFFER),
        "WEIGHTS_0": data.accessor(weights, ARRAY_BUFFER, normalized=True),
        f"{EXTENSION}:ROTATION": data.accessor(_unit(splats.quats)[:, [1, 2, 3, 0]], ARRAY_BUFFER),
        f"{EXTENSION}:SCALE": data.accessor(splats.scales, ARRAY_BUFFER),
        f"{EXTENSION}:OPACITY": data.accessor(splats.opacities, ARRAY_BUFFER),
    }
    for degree in range(splats.degree + 1):
        for n in range(2 * degree + 1):
            values = splats.sh[:, degree * degree + n]
            attributes[f"{EXTENSION}:SH_DEGREE_{degree}_COEF_{n}"] = data.accessor(values, ARRAY_BUFFER)
    extension = {
        "kernel": "ellipse",
        "colorSpace": COLOUR_SPACE,
        "sortingMethod": "cameraDistance",
        "projection": "perspective",
    }
    return {
        "name": "splats",
        "primitives": [{"mode": POINTS, "attributes": attributes, "extensions": {EXTENSION: extension}}],
    }


def _influences(
    indices: npt.NDArray[Any], weights: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Four influences as bytes: weights are k/255 already, and glTF wants joint 0 where the weight is 0."""
    share = np.round(weights * 255).astype(np.uint8)
    return np.where(share > 0, indices, 0).astype(np.uint8), share


def _unit(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return (values / np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)).astype(np.float32)


def _material(mesh: Mesh, data: _Buffer) -> dict[str, Any]:
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 0.8}
    if mesh.texture is None:
        surface["baseColorFactor"] = [0.5, 0.5, 0.5, 1.0]
    else:
        surface["baseColorTexture"] = {"index": 0}
    return {"name": "proxy", "pbrMetallicRoughness": surface}


def _controls(asset: Asset) -> list[dict[str, Any]]:
    """Controls with limits, as `Rig/Controls` has them in USD."""
    return [
        {
            "name": control.attribute,
            "label": control.label,
            "group": control.group,
            "min": control.soft[0],
            "max": control.soft[1],
            "default": control.default,
            "drives": control.drives,
            "unit": control.unit,
        }
        for control in asset.rig.controls
    ]


def _chunks(document: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-len(text) % 4)
    data += b"\0" * (-len(data) % 4)
    length = 12 + 8 + len(text) + 8 + len(data)
    return b"".join(
        (
            struct.pack("<III", MAGIC, 2, length),
            struct.pack("<II", len(text), JSON_CHUNK),
            text,
            struct.pack("<II", len(data), BIN_CHUNK),
            data,
        )
    )
