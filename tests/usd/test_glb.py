"""glTF: what stands in the file is the avatar, exactly, and obeys glTF 2.0 and KHR_gaussian_splatting."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lca.errors import InvalidInputError
from lca_bridge.wire.package import read_package
from lca_bridge.wire.skin import joint_transforms, local_rotations, pose_proxy
from lca_core.body.names import ARKIT_NAMES, JOINT_NAMES
from lca_usd import export_glb
from lca_usd.asset import load_asset

SPLAT = "KHR_gaussian_splatting"
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
KINDS = {5126: "<f4", 5121: "<u1", 5123: "<u2", 5125: "<u4"}


class Glb:
    """An independent reader of the little of glTF that we write."""

    def __init__(self, data: bytes) -> None:
        magic, version, length = struct.unpack_from("<III", data)
        assert (magic, version, length) == (0x46546C67, 2, len(data)) and length % 4 == 0
        size, kind = struct.unpack_from("<II", data, 12)
        assert kind == 0x4E4F534A and size % 4 == 0
        self.json = json.loads(data[20 : 20 + size])
        rest, kind = struct.unpack_from("<II", data, 20 + size)
        assert kind == 0x004E4942 and 28 + size + rest == length
        self.bin = data[28 + size :]
        assert 0 <= len(self.bin) - self.json["buffers"][0]["byteLength"] < 4

    def view(self, number: int) -> bytes:
        view = self.json["bufferViews"][number]
        assert view["byteOffset"] % 4 == 0 and view["byteOffset"] + view["byteLength"] <= len(self.bin)
        return self.bin[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]

    def read(self, number: int) -> np.ndarray:
        """(N, width) of an accessor, normalised integers as fractions; stated bounds must be true."""
        entry = self.json["accessors"][number]
        width, kind = WIDTHS[entry["type"]], KINDS[entry["componentType"]]
        values = np.zeros((entry["count"], width), np.dtype(kind))
        if "bufferView" in entry:
            values = np.frombuffer(self.view(entry["bufferView"]), kind).reshape(entry["count"], width)
        if sparse := entry.get("sparse"):
            index = np.frombuffer(self.view(sparse["indices"]["bufferView"]), "<u4")
            assert len(index) == sparse["count"] > 0 and (np.diff(index.astype(int)) > 0).all()
            values = values.copy()
            values[index] = np.frombuffer(self.view(sparse["values"]["bufferView"]), kind).reshape(-1, width)
        if "min" in entry:
            assert np.array_equal(values.min(axis=0), np.array(entry["min"], kind))
            assert np.array_equal(values.max(axis=0), np.array(entry["max"], kind))
        return values / 255.0 if entry.get("normalized") else values

    def primitive(self, mesh: int) -> dict[str, Any]:
        return self.json["meshes"][mesh]["primitives"][0]


@pytest.fixture(params=[0, 1, 3], ids="degree{}".format)
def made(request: pytest.FixtureRequest, make_package: Any, tmp_path: Path) -> tuple[Any, Glb]:
    package = make_package(200, degree=request.param)
    return package, Glb(export_glb(package.path, tmp_path / "a.glb").read_bytes())


def test_splats_are_the_asset_s_splats(made: tuple[Any, Glb]) -> None:
    package, glb = made
    splats, primitive = load_asset(package.path).splats, glb.primitive(1)
    assert glb.json["extensionsUsed"] == [SPLAT] and "extensionsRequired" not in glb.json
    assert primitive["mode"] == 0
    extension = primitive["extensions"][SPLAT]
    assert extension["kernel"] == "ellipse" and extension["colorSpace"] == "srgb_rec709_display"
    get = {name: glb.read(number) for name, number in primitive["attributes"].items()}
    assert np.array_equal(get["POSITION"], splats.means)
    assert np.array_equal(get[f"{SPLAT}:SCALE"], splats.scales)
    assert np.array_equal(get[f"{SPLAT}:OPACITY"][:, 0], splats.opacities)
    assert np.abs(np.linalg.norm(get[f"{SPLAT}:ROTATION"], axis=1) - 1).max() < 1e-6
    assert np.abs(get[f"{SPLAT}:ROTATION"][:, [3, 0, 1, 2]] - splats.quats).max() < 1e-6
    names = [name for name in get if "SH_DEGREE" in name]
    assert len(names) == splats.sh.shape[1]
    for degree in range(splats.degree + 1):
        for n in range(2 * degree + 1):
            assert np.array_equal(get[f"{SPLAT}:SH_DEGREE_{degree}_COEF_{n}"], splats.sh[:, degree**2 + n])
    assert np.abs(get["WEIGHTS_0"].sum(axis=1) - 1).max() < 1e-9
    assert np.abs(get["WEIGHTS_0"] - splats.joint_weights).max() < 1e-7
    # The fallback colour is linear: white paper stays white, grey 0.5 becomes 0.214.
    colour = np.clip(0.5 + 0.28209479177387814 * splats.sh[:, 0], 0, 1)
    decoded = np.where(colour > 0.04045, ((colour + 0.055) / 1.055) ** 2.4, colour / 12.92)
    assert np.abs(get["COLOR_0"][:, :3] - decoded).max() <= 0.5 / 255 + 1e-6


def test_mesh_skin_and_shapes_pose_like_ours(made: tuple[Any, Glb]) -> None:
    """The file's own nodes, matrices, weights and targets, evaluated by hand, give our posed proxy."""
    package, glb = made
    opened, primitive = read_package(package.path), glb.primitive(0)
    get = {name: glb.read(number) for name, number in primitive["attributes"].items()}
    skin = glb.json["skins"][0]
    nodes = [glb.json["nodes"][number] for number in skin["joints"]]
    assert [node["name"] for node in nodes] == list(JOINT_NAMES)
    parents = np.full(55, -1)
    for number, node in enumerate(nodes):
        parents[node.get("children", [])] = number
    inverse = glb.read(skin["inverseBindMatrices"]).reshape(55, 4, 4).transpose(0, 2, 1)
    rng = np.random.default_rng(4)
    rotations, arkit = rng.normal(scale=0.4, size=(55, 3)), rng.uniform(size=52)
    local = np.tile(np.eye(4), (55, 1, 1))
    local[:, :3, :3], local[:, :3, 3] = local_rotations(rotations), [n["translation"] for n in nodes]
    world = local.copy()
    for joint in range(1, 55):
        world[joint] = world[parents[joint]] @ local[joint]
    matrices = world @ inverse
    ours = joint_transforms(
        opened.skinning.joints, opened.skinning.parents, local_rotations(rotations), np.zeros(3)
    )
    assert np.abs(matrices - ours).max() < 1e-5
    points = get["POSITION"].astype(np.float64)
    assert glb.json["meshes"][0]["extras"]["targetNames"] == list(ARKIT_NAMES)
    for weight, target in zip(arkit, primitive["targets"], strict=True):
        points += weight * glb.read(target["POSITION"])
    blended = np.einsum("nk,nkij->nij", get["WEIGHTS_0"], matrices[get["JOINTS_0"]])
    posed = np.einsum("nij,nj->ni", blended[:, :3, :3], points) + blended[:, :3, 3]
    want = pose_proxy(opened, rotations, np.zeros(3), arkit)
    faces = glb.read(primitive["indices"]).ravel().astype(int)
    assert opened.proxy is not None
    assert np.abs(posed[faces] - want[opened.proxy.faces.ravel()]).max() < 1e-5


def test_texture_points_downwards_and_stays_inside(made: tuple[Any, Glb]) -> None:
    package, glb = made
    opened, primitive = read_package(package.path), glb.primitive(0)
    assert opened.proxy is not None
    uv = glb.read(primitive["attributes"]["TEXCOORD_0"])
    faces = glb.read(primitive["indices"]).ravel().astype(int)
    want = opened.proxy.uvs[opened.proxy.face_uvs.ravel()]
    assert np.abs(uv[faces] - np.stack([want[:, 0], 1 - want[:, 1]], 1)).max() < 1e-6
    image = glb.json["images"][0]
    assert glb.view(image["bufferView"]) == opened.proxy_texture
    assert len({(v["byteOffset"]) for v in glb.json["bufferViews"]}) == len(glb.json["bufferViews"])


def test_same_bytes_again_and_mesh_alone(make_package: Any, tmp_path: Path) -> None:
    package = make_package(80).path
    first = export_glb(package, tmp_path / "a.glb").read_bytes()
    assert first == export_glb(package, tmp_path / "b.glb").read_bytes()
    bare = Glb(export_glb(package, tmp_path / "c.glb", splats=False).read_bytes())
    assert len(bare.json["meshes"]) == 1 and "extensionsUsed" not in bare.json


def test_refusals(make_package: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"not a \.glb name"):
        export_glb(make_package(60).path, tmp_path / "a.gltf")
    with pytest.raises(InvalidInputError, match="no proxy mesh"):
        export_glb(make_package(60, drop=("proxy",)).path, tmp_path / "a.glb")
    assert not list(tmp_path.iterdir())
