"""Frame codecs: encode and decode is the identity within each encoding's stated error; hostile frames are
refused.
"""

from __future__ import annotations

import resource
import time
import zlib
from dataclasses import replace

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lca.errors import Category, DataLossError, InvalidInputError, LcaError, PreconditionError, error_from
from lca.v1 import gaussian_pb2, motion_pb2
from lca_bridge.wire.encode import BOX_MARGIN, encode_frame
from lca_bridge.wire.frames import (
    SH_C0,
    Codec,
    Encoding,
    FrameDecoder,
    Kind,
    decompress_exactly,
    make_layout,
)
from lca_bridge.wire.messages import (
    FrameAssembler,
    frame_to_protos,
    layout_from_proto,
    layout_to_proto,
    pose_from_proto,
    pose_to_proto,
)
from lca_bridge.wire.skin import PosedSplats
from lca_bridge.wire.status import CODES, pack_status, unpack_status


def splats(seed: int = 0, n: int = 500, bands: int = 1, spread: float = 1.0) -> PosedSplats:
    rng = np.random.default_rng(seed)
    quats = rng.normal(size=(n, 4)).astype(np.float32)
    return PosedSplats(
        means=rng.normal(0, spread, (n, 3)).astype(np.float32),
        quats=quats / np.linalg.norm(quats, axis=1, keepdims=True),
        scales=np.exp(rng.uniform(-9, -2, (n, 3))).astype(np.float32),
        opacities=rng.random(n).astype(np.float32),
        sh=(rng.uniform(-0.5, 0.5, (n, bands, 3)) / SH_C0).astype(np.float32),
    )


def angle_degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.degrees(2 * np.arccos(np.clip(np.abs(np.einsum("ij,ij->i", a, b)), 0, 1)))


@pytest.mark.parametrize("codec", [Codec.RAW, Codec.ZSTD])
@pytest.mark.parametrize("bands", [1, 4, 9, 16])
def test_float32_is_lossless(codec, bands):
    a = splats(bands=bands)
    layout = make_layout(Encoding.FLOAT32, 500, bands)
    b = FrameDecoder(layout).decode(encode_frame(layout, a, codec=codec))
    for name in ("means", "scales", "opacities", "sh"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    assert np.allclose(a.quats, b.quats, atol=1e-7)


@pytest.mark.parametrize("encoding", [Encoding.Q20, Encoding.Q10])
@pytest.mark.parametrize("codec", list(Codec))
@given(seed=st.integers(0, 2**32), spread=st.sampled_from([0.0, 1e-3, 1.0, 100.0]))
@settings(max_examples=15, deadline=None)
def test_quantised_errors_stay_in_their_bounds(encoding, codec, seed, spread):
    a = splats(seed, spread=spread)
    layout = make_layout(encoding, 500)
    b = FrameDecoder(layout).decode(encode_frame(layout, a, codec=codec))
    extent = np.ptp(a.means, axis=0) * (1 + 2 * BOX_MARGIN if codec is Codec.DELTA_ZSTD else 1)
    # half a step, plus float32 rounding of the coordinates themselves
    assert np.all(np.abs(a.means - b.means) <= extent / 65535 * 0.51 + np.abs(a.means).max() * 3e-7 + 1e-9)
    assert angle_degrees(a.quats, b.quats).max() < 0.8
    assert np.abs(np.linalg.norm(b.quats, axis=1) - 1).max() < 1e-5
    assert np.abs(b.scales / a.scales - 1).max() < 2e-4
    assert np.abs(b.opacities - a.opacities).max() < 1 / 500
    assert np.abs((b.sh - a.sh) * SH_C0).max() < 1 / 500


def test_bytes_per_gaussian():
    assert make_layout(Encoding.FLOAT32, 1000).decoded_size(True) == 56_000
    assert make_layout(Encoding.Q20, 1000).decoded_size(True) == 20_000
    assert make_layout(Encoding.Q10, 1000).decoded_size(False) == 10_000
    assert make_layout(Encoding.Q10, 1000).decoded_size(True) == 20_000


def test_q10_keeps_the_key_frames_static_planes():
    first, later = splats(1), splats(2)
    layout = make_layout(Encoding.Q10, 500)
    decoder = FrameDecoder(layout)
    with pytest.raises(PreconditionError) as caught:
        decoder.decode(encode_frame(layout, first, keyframe=False))
    assert caught.value.reason == "KEYFRAME_NEEDED"
    key = decoder.decode(encode_frame(layout, first))
    mixed = decoder.decode(encode_frame(layout, later, keyframe=False))
    assert np.array_equal(mixed.sh, key.sh) and np.array_equal(mixed.scales, key.scales)
    assert np.abs(mixed.means - later.means).max() < 1e-3
    renewed = decoder.decode(encode_frame(layout, later))
    assert not np.array_equal(renewed.sh, key.sh)


def test_out_of_range_values_clamp_instead_of_wrapping():
    a = splats()
    a.sh[0], a.sh[1] = 100, -100
    a.scales[0] = 1e9
    layout = make_layout(Encoding.Q20, 500)
    b = FrameDecoder(layout).decode(encode_frame(layout, a))
    assert np.allclose(0.5 + SH_C0 * b.sh[0], 1) and np.allclose(0.5 + SH_C0 * b.sh[1], 0, atol=1e-6)
    assert b.scales[0].min() > 19


@pytest.mark.parametrize("encoding", list(Encoding))
def test_layout_survives_the_message(encoding):
    layout = make_layout(encoding, 77, 4)
    message = gaussian_pb2.GaussianLayout.FromString(layout_to_proto(layout).SerializeToString())
    again = layout_from_proto(message)
    assert again.encoding is layout.encoding and again.gaussian_count == 77
    for a, b in zip(again.attributes, layout.attributes, strict=True):
        assert (a.kind, a.component, a.count, a.is_static) == (b.kind, b.component, b.count, b.is_static)
        assert abs(a.scale - b.scale) < 1e-7 and abs(a.offset - b.offset) < 1e-6


@pytest.mark.parametrize("change", [
    lambda m: m.attributes.pop(),
    lambda m: m.attributes.append(m.attributes[0]),
    lambda m: setattr(m.attributes[0], "kind", 99),
    lambda m: setattr(m.attributes[0], "component_count", 4),
    lambda m: setattr(m, "gaussian_count", 0),
    lambda m: setattr(m, "gaussian_count", 2**31),
])  # fmt: skip
def test_broken_layouts_are_refused(change):
    message = layout_to_proto(make_layout(Encoding.Q20, 10))
    change(message)
    with pytest.raises(InvalidInputError):
        layout_from_proto(message)


@given(limit=st.integers(1, 30_000), codec=st.sampled_from([Codec.RAW, Codec.ZSTD]))
@settings(max_examples=20, deadline=None)
def test_split_frames_come_together(limit, codec):
    a, layout = splats(n=300), make_layout(Encoding.FLOAT32, 300)
    encoded = encode_frame(layout, a, codec=codec)
    assembler = FrameAssembler(layout)
    pieces = list(frame_to_protos(encoded, max(limit, 64)))
    results = [assembler.add(gaussian_pb2.GaussianFrame.FromString(p.SerializeToString())) for p in pieces]
    assert all(r is None for r in results[:-1]) and results[-1] is not None
    assert results[-1].payload == encoded.payload and results[-1].crc32 == encoded.crc32
    assert np.array_equal(FrameDecoder(layout).decode(results[-1]).means, a.means)


def test_lost_pieces_are_noticed():
    layout = make_layout(Encoding.FLOAT32, 300)
    pieces = list(frame_to_protos(encode_frame(layout, splats(n=300)), 4096))
    assembler = FrameAssembler(layout)
    assembler.add(pieces[0])
    with pytest.raises(InvalidInputError):
        assembler.add(pieces[2])


def test_changed_and_cut_payloads_are_refused():
    layout = make_layout(Encoding.Q20, 500)
    frame = encode_frame(layout, splats())
    flipped = bytearray(frame.payload)
    flipped[100] ^= 1
    with pytest.raises(DataLossError):
        FrameDecoder(layout).decode(replace(frame, payload=bytes(flipped)))
    cut = bytes(frame.payload[:-1])
    with pytest.raises(InvalidInputError):
        FrameDecoder(layout).decode(replace(frame, payload=cut, crc32=zlib.crc32(cut)))
    with pytest.raises(InvalidInputError):
        FrameDecoder(layout).decode(replace(frame, decoded_size=frame.decoded_size + 1))


def _bombs() -> dict[str, bytes]:
    chunk = b"\0" * (1 << 20)
    sized = zstandard.ZstdCompressor(level=3).compress(b"\0" * (256 << 20))
    stream = zstandard.ZstdCompressor(level=3, write_content_size=False).compressobj()
    unsized = b"".join(stream.compress(chunk) for _ in range(256)) + stream.flush()
    wide = zstandard.ZstdCompressionParameters(window_log=27, compression_level=1, write_content_size=False)
    stream = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    windowed = stream.compress(b"x" * 1000) + stream.flush()
    return {
        "sized": sized,
        "unsized": unsized,
        "window": windowed,
        "garbage": b"\x28\xb5\x2f\xfd" + b"\xff" * 50,
    }


@pytest.mark.parametrize("name,bomb", _bombs().items())
def test_zstd_bombs_are_refused_quickly(name, bomb):
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(InvalidInputError):
        decompress_exactly(bomb, 1_000_000)
    assert time.perf_counter() - started < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10  # KiB


def test_a_lying_size_in_the_header_is_noticed():
    honest = bytearray(zstandard.ZstdCompressor().compress(b"\0" * 100_000))
    parameters = zstandard.get_frame_parameters(bytes(honest))
    assert parameters.content_size == 100_000
    with pytest.raises(InvalidInputError):
        decompress_exactly(bytes(honest), 99_999)
    assert decompress_exactly(bytes(honest), 100_000) == b"\0" * 100_000


def test_pose_round_trip():
    rng = np.random.default_rng(0)
    arrays = {
        "translation": rng.normal(size=3),
        "joint_rotations": rng.normal(size=(55, 3)),
        "arkit": rng.random(52),
        "gaze": rng.normal(size=(2, 2)),
        "light": rng.normal(size=(9, 3)),
    }
    message = pose_to_proto(9, time_code=0.5, **arrays)
    again = pose_from_proto(motion_pb2.PoseFrame.FromString(message.SerializeToString()))
    for name, array in arrays.items():
        assert np.allclose(again[{"arkit": "arkit_weights"}.get(name, name)], array, atol=1e-6)
    rest = pose_from_proto(motion_pb2.PoseFrame())
    assert all(not array.any() for array in rest.values()) and "light" not in rest


@pytest.mark.parametrize("field,value", [
    ("joint_rotations", [0.0] * 164),
    ("joint_rotations", [float("nan")] * 165),
    ("arkit_weights", [1e30] * 52),
    ("translation", [float("inf")] * 3),
    ("gaze", [0.0] * 2),
])  # fmt: skip
def test_bad_poses_are_refused(field, value):
    with pytest.raises(InvalidInputError) as caught:
        pose_from_proto(motion_pb2.PoseFrame(**{field: value}))
    assert caught.value.reason == "BAD_POSE"


@pytest.mark.parametrize("category", list(Category))
def test_errors_survive_the_wire(category):
    error = error_from(category, "SOME_REASON", "What happened.", {"committed_size": "12"})
    again = unpack_status(pack_status(error))
    assert again is not None and type(again) is type(error)
    assert (again.category, again.reason, again.message) == (category, "SOME_REASON", "What happened.")
    assert again.metadata == {"committed_size": "12"}


def test_every_error_class_comes_back_as_itself():
    kinds = [LcaError]
    for kind in kinds:
        kinds += [child for child in kind.__subclasses__() if child.__module__ == "lca.errors"]
        again = unpack_status(pack_status(kind("x")))
        assert type(again) is kind, kind
    assert set(CODES) == set(Category)


@given(st.binary(max_size=60))
@settings(max_examples=50, deadline=None)
def test_garbage_trailers_are_ignored(data):
    assert unpack_status(data) is None or isinstance(unpack_status(data), LcaError)


def test_kinds_match_the_protocol():
    for ours, theirs, prefix in (
        (Kind, gaussian_pb2.AttributeKind, "ATTRIBUTE_KIND_"),
        (Encoding, gaussian_pb2.GaussianEncoding, "GAUSSIAN_ENCODING_"),
        (Codec, gaussian_pb2.PayloadCodec, "PAYLOAD_CODEC_"),
    ):
        assert {prefix + k.name: int(k) for k in ours} == {k: v for k, v in theirs.items() if v}
