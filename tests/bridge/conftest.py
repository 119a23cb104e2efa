"""Builds small but complete ``.lca`` files from docs/avatar-file.md with the safetensors library."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save as dump

from lca.v1 import avatar_pb2
from lca_bridge.client import LcaClient, connect
from lca_bridge.server.app import ServiceThread
from lca_bridge.server.config import ServerConfig
from lca_core.body.names import JOINT_PARENTS
from lca_core.body.rig import RigDescription

Entries = dict[str, bytes]


def make_groups(seed: int, n: int, components: int, sh_bands: int = 1) -> dict[str, dict[str, np.ndarray]]:
    """Random arrays with the shapes, types and ranges of the schema."""
    rng = np.random.default_rng(seed)
    f4, f2 = np.float32, np.float16
    parents = np.array(JOINT_PARENTS, np.int32)
    joints = np.zeros((55, 3))
    for j in range(1, 55):
        joints[j] = joints[parents[j]] + rng.normal(0, 0.12, 3)

    def influences(count: int) -> tuple[np.ndarray, np.ndarray]:
        index = np.argsort(rng.random((count, 55)), 1)[:, :4].astype(np.uint8)
        cuts = np.sort(rng.integers(0, 256, (count, 3)), 1)
        units = np.diff(np.concatenate([np.zeros((count, 1)), cuts, np.full((count, 1), 255)], 1), axis=1)
        return index, (-np.sort(-units, 1) / 255).astype(f4)

    def sparse(count: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        rows = [np.sort(rng.permutation(count)[: rng.integers(0, width)]) for _ in range(52)]
        ptr = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int32)
        return ptr, np.concatenate(rows).astype(np.int32)

    indices, weights = influences(n)
    ptr, index = sparse(n, 20)
    m, v = len(index), 40
    quats = rng.normal(size=(n, 4))
    v_indices, v_weights = influences(v)
    v_ptr, v_index = sparse(v, 8)
    bary = rng.dirichlet(np.ones(3), n)
    return {
        "canonical": {
            "means": rng.normal(0, 0.5, (n, 3)).astype(f4),
            "quats": (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(f4),
            "scales": rng.uniform(0.002, 0.02, (n, 3)).astype(f4),
            "opacities": rng.uniform(0.1, 1, n).astype(f4),
            "sh": rng.normal(0, 0.4, (n, sh_bands, 3)).astype(f4),
            "texel": rng.integers(0, 64, (n, 2)).astype(np.int32),
        },
        "skinning": {
            "joints": joints.astype(f4),
            "parents": parents,
            "joint_indices": indices,
            "joint_weights": weights,
        },
        "correctives": {
            "arkit_ptr": ptr,
            "arkit_index": index,
            "arkit_means": rng.normal(0, 0.01, (m, 3)).astype(f2),
            "arkit_quats": rng.normal(0, 0.05, (m, 4)).astype(f2),
            "arkit_log_scales": rng.normal(0, 0.1, (m, 3)).astype(f2),
            "arkit_sh0": rng.normal(0, 0.1, (m, 3)).astype(f2),
            "pose_mean": rng.normal(0, 0.05, 486).astype(f4),
            "pose_basis": rng.normal(0, 0.05, (components, 486)).astype(f4),
            "pose_means": rng.normal(0, 0.01, (components, n, 3)).astype(f2),
            "pose_quats": rng.normal(0, 0.02, (components, n, 4)).astype(f2),
            "pose_log_scales": rng.normal(0, 0.05, (components, n, 3)).astype(f2),
            "pose_sh0": rng.normal(0, 0.05, (components, n, 3)).astype(f2),
        },
        "network": {"identity_map": rng.normal(size=(4, 8, 8)).astype(f2)},
        "relight": {
            "albedo": rng.random((n, 3)).astype(f4),
            "transfer": rng.normal(size=(n, 9)).astype(f4),
        },
        "proxy": {
            "vertices": rng.normal(0, 0.5, (v, 3)).astype(f4),
            "normals": np.tile(np.array([0, 0, 1], f4), (v, 1)),
            "faces": rng.integers(0, v, (60, 3)).astype(np.int32),
            "uvs": rng.random((50, 2)).astype(f4),
            "face_uvs": rng.integers(0, 50, (60, 3)).astype(np.int32),
            "joint_indices": v_indices,
            "joint_weights": v_weights,
            "arkit_ptr": v_ptr,
            "arkit_index": v_index,
            "arkit_vertices": rng.normal(0, 0.01, (len(v_index), 3)).astype(f4),
            "bind_tri": rng.integers(0, v, (n, 3)).astype(np.int32),
            "bind_bary": bary.astype(f4),
        },
    }


def pack(
    groups: dict[str, dict[str, np.ndarray]], change: Callable[[Entries, dict], None] | None = None
) -> bytes:
    """Zip ``groups`` as docs/avatar-file.md says; ``change(entries, header)`` edits them before zipping."""
    n = len(groups["canonical"]["means"])
    picture = io.BytesIO()
    Image.new("RGB", (16, 16), (120, 130, 140)).save(picture, "PNG")
    entries: Entries = {"rig.json": RigDescription.default().to_json().encode()}
    for group, tensors in groups.items():
        metadata = {"uv_size": "64"} if group == "canonical" else None
        entries[f"{group}.safetensors"] = dump(tensors, metadata=metadata)
    entries |= {"proxy.png": picture.getvalue(), "thumbnail.png": picture.getvalue()}
    header: dict[str, Any] = {
        "schema": "lca.avatar/1",
        "name": "Test person",
        "created": "2026-01-01T00:00:00Z",
        "generator": "test",
        "weights": {"config": "none", "sha256": "", "licence": "CC0-1.0"},
        "inputs_licence": "CC0-1.0",
        "height_m": 1.7,
        "gaussian_count": n,
        "betas": [0.0] * 50,
        "provenance": {},
    }
    header["files"] = {
        k: {"sha256": hashlib.sha256(d).hexdigest(), "bytes": len(d)} for k, d in entries.items()
    }
    if change is not None:
        change(entries, header)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("avatar.json", json.dumps(header))
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.fixture(scope="session")
def groups() -> dict[str, dict[str, np.ndarray]]:
    return make_groups(seed=7, n=200, components=6)


@pytest.fixture(scope="session")
def package_bytes(groups: dict[str, dict[str, np.ndarray]]) -> bytes:
    return pack(groups)


@pytest.fixture
def package_file(tmp_path: Path, package_bytes: bytes) -> Path:
    path = tmp_path / "person.lca"
    path.write_bytes(package_bytes)
    return path


@pytest.fixture(scope="session")
def repack() -> Callable[..., bytes]:
    """``repack(groups, change)``: see :func:`pack`."""
    return pack


@pytest.fixture(scope="session")
def new_groups() -> Callable[..., dict[str, dict[str, np.ndarray]]]:
    """``new_groups(seed, n, components, sh_bands)``: see :func:`make_groups`."""
    return make_groups


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceThread]:
    """A real service on a loopback port with a token."""
    with ServiceThread(ServerConfig(data_dir=tmp_path / "data", address="127.0.0.1:0")) as running:
        yield running


@pytest.fixture
def client(service: ServiceThread) -> Iterator[LcaClient]:
    with connect(service.target, service.token, wait_seconds=10) as connected:
        yield connected


@pytest.fixture(scope="session")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceThread]:
    """One service for tests that leave nothing behind."""
    folder = tmp_path_factory.mktemp("service")
    with ServiceThread(ServerConfig(data_dir=folder, address="127.0.0.1:0")) as running:
        yield running


@pytest.fixture(scope="session")
def shared_client(shared_service: ServiceThread) -> Iterator[LcaClient]:
    with connect(shared_service.target, shared_service.token, wait_seconds=10) as connected:
        yield connected


@pytest.fixture(scope="session")
def avatar(
    shared_client: LcaClient, package_bytes: bytes, tmp_path_factory: pytest.TempPathFactory
) -> avatar_pb2.Avatar:
    """The test person, imported into the shared service."""
    path = tmp_path_factory.mktemp("package") / "person.lca"
    path.write_bytes(package_bytes)
    return shared_client.import_avatar(shared_client.upload(path).name, avatar_id="person")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real, short, decodable video with nobody in it: a moving gradient."""
    import av

    path = tmp_path_factory.mktemp("clip") / "nobody.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 240, "yuv420p"
        y, x = np.mgrid[0:240, 0:160]
        for k in range(12):
            pixels = np.stack([x + 4 * k, y, x * 0 + 90], 2).clip(0, 255).astype(np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
