"""Compressed side-cars keep the splat order and stay within stated errors; damaged ones are refused."""

from __future__ import annotations

import contextlib
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pxr import Usd

from lca.errors import DataLossError, InvalidInputError, MediaUnreadableError, NotFoundError
from lca_bridge.wire.skin import PosedSplats
from lca_usd import export_usd
from lca_usd.asset import load_asset
from lca_usd.planar import CODECS, decode_planar, encode_planar
from lca_usd.quantise import smallest_three, unsmallest_three
from lca_usd.sidecar import SUFFIXES, read_sidecar
from lca_usd.spz import HEADER, decode_spz, encode_spz, fraction_bits


def cloud(n: int = 500, degree: int = 0, seed: int = 1) -> PosedSplats:
    rng = np.random.default_rng(seed)
    quats = rng.normal(size=(n, 4))
    return PosedSplats(
        means=rng.uniform(-1.9, 1.9, (n, 3)).astype(np.float32),
        quats=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales=np.exp(rng.uniform(-8, -3, (n, 3))).astype(np.float32),
        opacities=(rng.integers(0, 256, n) / 255).astype(np.float32),
        sh=rng.uniform(-0.9, 0.9, (n, (degree + 1) ** 2, 3)).astype(np.float32),
    )


def turn_degrees(a: np.ndarray, b: np.ndarray) -> float:
    """Largest angle between rotations."""
    cosine = np.abs(np.einsum("nc,nc->n", a.astype(np.float64), b.astype(np.float64))).clip(0, 1)
    return float(np.degrees(2 * np.arccos(cosine)).max())


CODERS: dict[str, tuple[Callable[..., bytes], Callable[[bytes], PosedSplats]]] = {
    "spz": (encode_spz, decode_spz),
    "zstd": (encode_planar, decode_planar),
    "deflate": (lambda splats: encode_planar(splats, "deflate"), decode_planar),
}


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", CODERS)
def test_every_splat_comes_back_in_its_place(kind: str, degree: int) -> None:
    splats = cloud(degree=degree)
    encode, decode = CODERS[kind]
    back = decode(encode(splats))
    assert np.abs(back.means - splats.means).max() < 1.0e-4
    assert turn_degrees(back.quats, splats.quats) < 0.35
    assert np.abs(np.log(back.scales / splats.scales)).max() <= 1 / 32 + 1e-3
    assert np.array_equal(np.rint(back.opacities * 255), np.rint(splats.opacities * 255))
    assert back.sh.shape == splats.sh.shape
    assert np.abs(back.sh - splats.sh).max() < 0.015
    assert np.allclose(np.linalg.norm(back.quats, axis=1), 1, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_rotation_words_are_the_nearest_of_either_sign(seed: int, n: int) -> None:
    quats = cloud(n, seed=seed).quats
    words = smallest_three(quats)
    assert np.array_equal(words, smallest_three(-quats))
    assert turn_degrees(unsmallest_three(words), quats) < 0.35


def test_axis_rotations_survive() -> None:
    quats = np.concatenate([np.eye(4), -np.eye(4)]).astype(np.float32)
    assert turn_degrees(unsmallest_three(smallest_three(quats)), quats) < 1e-3


def test_spz_header_is_that_of_version_4() -> None:
    data = encode_spz(cloud(7, degree=1))
    magic, version, count, degree, bits, flags, streams, table = struct.unpack_from("<IIIBBBBI", data)
    assert (magic, version, count, degree, flags, streams, table) == (0x5053474E, 4, 7, 1, 0, 6, HEADER)
    sizes = [struct.unpack_from("<QQ", data, table + 16 * i) for i in range(streams)]
    assert [raw for _, raw in sizes] == [63, 7, 21, 21, 28, 63]
    assert HEADER + 16 * streams + sum(small for small, _ in sizes) == len(data)
    assert 2 ** (23 - bits) > 1.9


def test_far_splats_get_fewer_fraction_bits() -> None:
    splats = cloud()
    far = PosedSplats(splats.means * 500, splats.quats, splats.scales, splats.opacities, splats.sh)
    assert fraction_bits(far.means) < fraction_bits(splats.means) == 14
    assert np.abs(decode_spz(encode_spz(far)).means - far.means).max() <= 0.5 / 2 ** fraction_bits(far.means)


@pytest.mark.parametrize("kind", CODERS)
def test_damage_is_refused_and_never_crashes(kind: str) -> None:
    encode, decode = CODERS[kind]
    data = encode(cloud(64, degree=1))
    rng = np.random.default_rng(5)
    for cut in (0, 1, 16, 31, 40, len(data) // 2, len(data) - 1):
        with pytest.raises(MediaUnreadableError):
            decode(data[:cut])
    for _ in range(200):
        broken = bytearray(data)
        broken[rng.integers(len(data))] ^= 1 << rng.integers(8)
        with contextlib.suppress(MediaUnreadableError):
            assert len(decode(bytes(broken)).means) > 0


@pytest.mark.parametrize("preset", ["engine", "unreal", "unity"])
def test_asset_names_its_sidecars_and_shares_their_order(plain: Any, tmp_path: Path, preset: str) -> None:
    report = export_usd(plain.path, tmp_path / "a.usdz", preset=preset)
    assert report.sidecars and set(report.sidecars) == {
        path.name for path in tmp_path.iterdir() if path.suffix != ".usdz"
    }
    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    listed = stage.GetDefaultPrim().GetAssetInfo()["lca"]["sidecars"]
    stage.GetDefaultPrim().GetVariantSet("representation").SetVariantSelection("splat")
    positions = np.asarray(stage.GetPrimAtPath("/Avatar/Geom/Splats/body").GetAttribute("positions").Get())
    for kind, entry in listed.items():
        path = tmp_path / entry["file"]
        assert path.name.endswith(SUFFIXES[kind]) and path.stat().st_size == entry["bytes"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
        splats = read_sidecar(path, entry["sha256"])
        assert np.abs(splats.means - positions).max() < 1e-4


def test_wrong_sidecars_are_told_apart(plain: Any, tmp_path: Path) -> None:
    splats = load_asset(plain.path).splats
    path = tmp_path / "a.spz"
    path.write_bytes(encode_spz(cloud()))
    with pytest.raises(DataLossError, match="Export again"):
        read_sidecar(path, "0" * 64)
    with pytest.raises(NotFoundError):
        read_sidecar(tmp_path / "none.spz")
    with pytest.raises(InvalidInputError, match="end in"):
        (tmp_path / "a.bin").write_bytes(b"x")
        read_sidecar(tmp_path / "a.bin")
    assert len(splats) == 300 and set(CODECS) == {"zstd", "deflate"}
