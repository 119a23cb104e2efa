"""The package reader: what a foreign writer stored comes back bit for bit; unsafe or damaged files do not."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import stat
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as dump

from lca.errors import DataLossError, InvalidInputError, LcaError, NotFoundError, PreconditionError
from lca_bridge.wire.package import read_package
from lca_bridge.wire.safetensors import read_safetensors


def test_every_array_comes_back_bit_for_bit(package_file, groups):
    package = read_package(package_file)
    assert package.gaussian_count == 200 and package.name == "Test person"
    for group in ("canonical", "skinning", "correctives", "relight", "proxy"):
        loaded = getattr(package, group)
        for name, stored in groups[group].items():
            array = getattr(loaded, name)
            assert array.dtype == stored.dtype and np.array_equal(array, stored), (group, name)
    assert package.canonical.uv_size == 64
    assert np.array_equal(package.network["identity_map"], groups["network"]["identity_map"])
    assert package.thumbnail.startswith(b"\x89PNG") and package.proxy_texture.startswith(b"\x89PNG")


def test_bytes_and_path_are_the_same_package(package_file, package_bytes):
    a, b = read_package(package_file), read_package(package_bytes)
    assert a.info == b.info and np.array_equal(a.canonical.means, b.canonical.means)


def test_reading_needs_only_numpy():
    code = (
        "import sys; import lca_bridge.wire.package, lca_bridge.wire.skin;"
        "bad = {'torch', 'lca_core', 'grpc', 'safetensors', 'google.protobuf'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_core_writer_and_this_reader_agree(tmp_path, package_file):
    avatar_module = pytest.importorskip("lca_core.avatar.avatar")
    rig_module = pytest.importorskip("lca_core.body.rig")
    package = read_package(package_file)

    def take(kind, group, **extra):
        names = [f for f in kind.__dataclass_fields__ if f not in extra]
        return kind(**{name: getattr(group, name) for name in names}, **extra)

    picture = np.full((16, 16, 3), 90, np.uint8)
    avatar = avatar_module.Avatar(
        name="Ada",
        created="2026-01-01T00:00:00Z",
        generator="test",
        weights=avatar_module.WeightsInfo("none", "", "CC0-1.0"),
        inputs_licence="CC0-1.0",
        height_m=1.7,
        betas=np.zeros(50, np.float32),
        rig=rig_module.default_rig() if hasattr(rig_module, "default_rig") else rig_module.RigDescription(),
        canonical=take(avatar_module.Canonical, package.canonical),
        skinning=take(avatar_module.Skinning, package.skinning),
        correctives=take(avatar_module.Correctives, package.correctives),
        network={"identity_map": package.network["identity_map"]},
        relight=take(avatar_module.Relight, package.relight),
        proxy=take(avatar_module.Proxy, package.proxy, texture=picture),
        thumbnail=picture,
    )
    avatar.save(tmp_path / "core.lca")
    again = read_package(tmp_path / "core.lca")
    assert again.name == "Ada"
    for group in ("canonical", "skinning", "correctives", "relight", "proxy"):
        for name in package.__getattribute__(group).__dataclass_fields__:
            assert np.array_equal(
                getattr(getattr(again, group), name), getattr(getattr(package, group), name)
            )


def test_unknown_entries_and_keys_are_ignored(groups, repack):
    def change(entries, header):
        entries["future.bin"] = b"x"
        header["future"] = {"a": 1}

    assert read_package(repack(groups, change)).canonical.means.shape == (200, 3)


def test_optional_groups_may_be_absent(groups, repack):
    small = {k: v for k, v in groups.items() if k in ("canonical", "skinning")}
    package = read_package(repack(small))
    assert package.correctives is None and package.proxy is None and package.relight is None


@pytest.mark.parametrize("schema,error", [
    ("lca.avatar/2", PreconditionError),
    ("lca.avatar/1.4", None),
    ("other/1", InvalidInputError),
    ("", InvalidInputError),
])  # fmt: skip
def test_schema_major_is_checked(groups, repack, schema, error):
    data = repack(groups, lambda entries, header: header.update(schema=schema))
    if error is None:
        assert read_package(data).info["schema"] == schema
    else:
        with pytest.raises(error):
            read_package(data)


def test_a_changed_entry_is_data_loss(groups, repack):
    def change(entries, header):
        flipped = bytearray(entries["canonical.safetensors"])
        flipped[-1] ^= 1
        entries["canonical.safetensors"] = bytes(flipped)

    with pytest.raises(DataLossError):
        read_package(repack(groups, change))
    with pytest.raises(DataLossError):
        _ = read_package(repack(groups, change), verify=False).canonical


def _hostile(edit) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in ("avatar.json", "rig.json", "canonical.safetensors", "skinning.safetensors"):
            archive.writestr(name, b"{}")
        edit(archive)
    return out.getvalue()


def _link(archive):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, "/etc/passwd")


@pytest.mark.parametrize("edit", [
    lambda z: z.writestr("../escape", b"x"),
    lambda z: z.writestr("a/../../escape", b"x"),
    lambda z: z.writestr("/absolute", b"x"),
    lambda z: z.writestr("C:\\windows", b"x"),
    _link,
    lambda z: z.writestr("bomb", b"\0" * 1_000_000, compress_type=zipfile.ZIP_DEFLATED),
    lambda z: [z.writestr(f"e{i}", b"") for i in range(1000)],
], ids=["dotdot", "nested", "absolute", "drive", "symlink", "deflated", "many"])  # fmt: skip
def test_hostile_containers_are_refused(edit):
    with pytest.raises(InvalidInputError) as caught:
        read_package(_hostile(edit))
    assert caught.value.reason == "PACKAGE_INVALID"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_entries_are_refused():
    with pytest.raises(InvalidInputError):
        read_package(_hostile(lambda z: z.writestr("rig.json", b"{}")))


@pytest.mark.parametrize("group,name,value", [
    ("canonical", "means", np.full((200, 3), np.nan, np.float32)),
    ("canonical", "means", np.zeros((199, 3), np.float32)),
    ("canonical", "means", np.zeros((200, 3), np.float64)),
    ("canonical", "scales", np.zeros((200, 3), np.float32)),
    ("canonical", "opacities", np.full(200, 1.5, np.float32)),
    ("skinning", "joint_indices", np.full((200, 4), 55, np.uint8)),
    ("skinning", "joint_weights", np.zeros((200, 4), np.float32)),
    ("skinning", "parents", np.arange(55, dtype=np.int32)),
    ("correctives", "arkit_ptr", np.zeros(53, np.int32)),
    ("proxy", "faces", np.full((60, 3), 40, np.int32)),
    ("proxy", "bind_tri", np.full((200, 3), -1, np.int32)),
])  # fmt: skip
def test_arrays_outside_the_schema_are_refused(groups, repack, group, name, value):
    broken = copy.copy(groups)
    broken[group] = {**groups[group], name: value}
    package = read_package(repack(broken))
    with pytest.raises(InvalidInputError):
        getattr(package, group)


def test_truncated_files_are_refused_at_every_length(package_bytes):
    for part in np.linspace(0, len(package_bytes) - 1, 25).astype(int):
        with pytest.raises(LcaError):
            read_package(package_bytes[:part])


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(NotFoundError):
        read_package(tmp_path / "none.lca")
    with pytest.raises(InvalidInputError):
        read_package(tmp_path)


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.integers(0, 5), max_size=4), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_safetensors_round_trip(shapes, seed):
    rng = np.random.default_rng(seed)
    dtypes = (np.float32, np.float16, np.int32, np.uint8, np.float64, np.int64)
    tensors = {
        name: rng.integers(0, 100, (k, 2)).astype(dtypes[k % len(dtypes)]) for name, k in shapes.items()
        if name != "__metadata__"
    }  # fmt: skip
    loaded, meta = read_safetensors(dump(tensors, metadata={"a": "b"}))
    assert meta == {"a": "b"} and loaded.keys() == tensors.keys()
    for name, array in tensors.items():
        assert loaded[name].dtype == array.dtype and np.array_equal(loaded[name], array)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_garbage_tensors_are_refused_or_read(data):
    with contextlib.suppress(InvalidInputError):
        read_safetensors(data)


@pytest.mark.parametrize("entry", [
    {"dtype": "F32", "shape": [4], "data_offsets": [0, 17]},
    {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]},
    {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 16]},
    {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
    {"dtype": "OBJ", "shape": [4], "data_offsets": [0, 16]},
    {"dtype": "F32", "shape": [4], "data_offsets": [16, 32]},
    [],
])  # fmt: skip
def test_tensors_outside_the_file_are_refused(entry):
    header = json.dumps({"x": entry}).encode()
    with pytest.raises(InvalidInputError):
        read_safetensors(len(header).to_bytes(8, "little") + header + bytes(16))


def test_checksums_cover_every_listed_entry(package_bytes):
    package = read_package(package_bytes)
    for entry, about in package.info["files"].items():
        assert hashlib.sha256(package.read(entry)).hexdigest() == about["sha256"]
