"""The parts of the codecs: differences are exact, and the compiled packer is its numpy twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lca.errors import InvalidInputError, PreconditionError
from lca.v1 import gaussian_pb2
from lca_bridge.server.memory import tune_malloc
from lca_bridge.server.packing import fast_pack
from lca_bridge.wire.corrections import RigDriver, rig_frame_from_proto, rig_frame_to_proto
from lca_bridge.wire.delta import to_delta, undo_delta
from lca_bridge.wire.encode import FrameEncoder, box_of, pack
from lca_bridge.wire.frames import SH_C0, Codec, Encoding, FrameDecoder, make_layout
from lca_bridge.wire.package import read_package
from lca_bridge.wire.skin import BakedRig, PosedSplats, joint_transforms, rotation_matrices


def splats(seed: int = 0, n: int = 400, shift: float = 0.0) -> PosedSplats:
    rng = np.random.default_rng(seed)
    quats = rng.normal(size=(n, 4)).astype(np.float32)
    return PosedSplats(
        means=(rng.normal(0, 0.5, (n, 3)) + shift).astype(np.float32),
        quats=quats / np.linalg.norm(quats, axis=1, keepdims=True),
        scales=np.exp(rng.uniform(-9, -2, (n, 3))).astype(np.float32),
        opacities=rng.random(n).astype(np.float32),
        sh=(rng.uniform(-0.5, 0.5, (n, 1, 3)) / SH_C0).astype(np.float32),
    )


@given(pair=hnp.arrays(np.uint8, st.tuples(st.just(2), st.integers(0, 60).map(lambda n: 2 * n))))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("width", [1, 2])
def test_differences_are_exact_for_every_value(pair, width):
    raw, base = np.ascontiguousarray(pair[0]), np.ascontiguousarray(pair[1])
    assert np.array_equal(undo_delta(to_delta(raw, base, width), base, width), raw)


@pytest.mark.parametrize("width", [1, 2])
def test_small_changes_become_small_bytes(width):
    dtype = {1: np.uint8, 2: np.dtype("<u2")}[width]
    base = np.arange(1000, dtype=np.int64).astype(dtype)
    step = np.array([0, 1, -1, 2, -2] * 200)
    raw = (base.astype(np.int64) + step).astype(dtype)
    delta = to_delta(raw.view(np.uint8), base.view(np.uint8), width)
    assert delta[:5].tolist() == [0, 2, 1, 4, 3]
    assert width == 1 or not delta[1000:].any(), "the high bytes lie apart and are zero"


@pytest.mark.parametrize("encoding", list(Encoding))
@pytest.mark.parametrize("keyframe", [True, False])
@given(seed=st.integers(0, 2**32 - 1), shift=st.sampled_from([0.0, -3.0, 1000.0]))
@settings(max_examples=10, deadline=None)
def test_the_compiled_packer_is_its_numpy_twin(encoding, keyframe, seed, shift):
    layout, one = make_layout(encoding, 400), splats(seed, shift=shift)
    box = None if keyframe else box_of(one.means, 0.1)
    slow, slow_box = pack(layout, one, keyframe, box)
    fast, fast_box = fast_pack(layout, one, keyframe, box)
    assert slow_box == fast_box and slow.size == fast.size == layout.decoded_size(keyframe)
    for attribute, at in layout.parts(keyframe):
        a, b = layout.typed(attribute, slow[at]), layout.typed(attribute, fast[at])
        if encoding is Encoding.FLOAT32:
            assert np.array_equal(a, b)
        else:  # a value on the edge between two steps may round to either
            different = np.abs(a.astype(int) - b.astype(int))
            assert different.max() <= 1 and (different > 0).mean() < 0.02, attribute.kind


@pytest.mark.parametrize("packer", [pack, fast_pack])
@pytest.mark.parametrize("encoding", list(Encoding))
def test_packers_write_where_they_are_told(packer, encoding):
    layout = make_layout(encoding, 400)
    memory = np.zeros(layout.decoded_size(True) + 16, np.uint8)
    raw, _ = packer(layout, splats(), True, None, memory[8:-8])
    assert np.shares_memory(raw, memory) and not memory[:8].any() and not memory[-8:].any()
    assert np.array_equal(memory[8:-8], packer(layout, splats(), True, None, None)[0])
    with pytest.raises(InvalidInputError):
        packer(layout, splats(n=399), True, None, None)


def test_extreme_values_clamp_in_both_packers():
    one = splats()
    one.scales[0], one.scales[1] = 1e9, 1e-30
    one.sh[0], one.sh[1] = 1e6, -1e6
    one.quats[0] = (0, 0, -1, 0)
    layout = make_layout(Encoding.Q20, 400)
    outside = (0.0, 0.0, 0.0, 0.1, 0.1, 0.1)
    slow, fast = pack(layout, one, True, outside)[0], fast_pack(layout, one, True, outside)[0]
    for attribute, at in layout.parts(True):
        a, b = layout.typed(attribute, slow[at]).astype(int), layout.typed(attribute, fast[at]).astype(int)
        assert np.abs(a - b).max() <= 1, attribute.kind


@pytest.mark.parametrize("encoding", [Encoding.Q20, Encoding.Q10])
def test_a_difference_stream_equals_the_plain_one_in_the_same_box(encoding):
    layout = make_layout(encoding, 400)
    encoder, decoder = FrameEncoder(layout, Codec.DELTA_ZSTD, packer=fast_pack), FrameDecoder(layout)
    rest, sizes = splats(), []
    for number in range(6):
        moved = PosedSplats(rest.means + np.float32(0.001 * number), *list(vars(rest).values())[1:])
        frame = encoder.encode(moved, frame_id=10 + number)
        sizes.append(len(frame.payload))
        got = decoder.decode(frame)
        assert frame.keyframe == (number == 0) and frame.base_frame_id == (0 if number == 0 else 9 + number)
        raw, _ = pack(layout, moved, True, frame.box)
        plain = FrameDecoder(layout).read(raw, True, frame.box)
        assert np.abs(got.means - plain.means).max() < np.ptp(rest.means, axis=0).max() * 1.5 / 65535 * 1.01
        assert np.array_equal(got.scales, plain.scales)
    assert max(sizes[1:]) < sizes[0] / 2


def test_a_difference_without_its_base_asks_for_a_key_frame():
    layout = make_layout(Encoding.Q20, 400)
    encoder, decoder = FrameEncoder(layout, Codec.DELTA_ZSTD), FrameDecoder(layout)
    first, second, third = (encoder.encode(splats(), number) for number in (1, 2, 3))
    with pytest.raises(PreconditionError) as caught:
        decoder.decode(second)
    assert caught.value.reason == "KEYFRAME_NEEDED"
    decoder.decode(first)
    with pytest.raises(PreconditionError):
        decoder.decode(third)
    decoder.decode(encoder.encode(splats(), 4, keyframe=True))
    decoder.decode(encoder.encode(splats(), 5))


def test_static_planes_are_shared_and_read_only():
    layout = make_layout(Encoding.Q10, 400)
    encoder, decoder = FrameEncoder(layout), FrameDecoder(layout)
    a, b = (decoder.decode(encoder.encode(splats(k), k)) for k in (1, 2))
    assert a.sh.base is b.sh.base and not b.scales.flags.writeable and b.means.flags.writeable


def test_read_refuses_bytes_of_another_size():
    layout = make_layout(Encoding.FLOAT32, 10)
    with pytest.raises(InvalidInputError):
        FrameDecoder(layout).read(np.zeros(559, np.uint8), True, ())
    with pytest.raises(InvalidInputError):
        FrameDecoder(make_layout(Encoding.Q20, 10)).read(
            np.zeros(200, np.uint8), True, (0.0, float("nan")) * 3
        )


# -- correction frames --------------------------------------------------------------------------------------


def test_rig_frames_of_many_poses_are_those_of_each(package_bytes):
    package = read_package(package_bytes)
    rng = np.random.default_rng(5)
    poses = [
        {
            "joint_rotations": rng.normal(0, 0.5, (55, 3)).astype(np.float32),
            "translation": rng.normal(size=3).astype(np.float32),
            "arkit_weights": rng.random(52).astype(np.float32),
            "gaze": rng.normal(0, 0.3, (2, 2)).astype(np.float32),
        }
        for _ in range(5)
    ]
    driver, rig = RigDriver(package), BakedRig(package)
    together = driver.frames(poses)
    for pose, frame in zip(poses, together):
        (alone,) = driver.frames([pose])
        for name, value in vars(frame).items():
            assert np.allclose(value, getattr(alone, name), atol=1e-6), name
        message = gaussian_pb2.CorrectionFrame.FromString(rig_frame_to_proto(frame).SerializeToString())
        applied = rig.apply(**vars(rig_frame_from_proto(message)))
        expected = rig.pose(pose["joint_rotations"], pose["translation"], pose["arkit_weights"], pose["gaze"])
        assert np.abs(applied.means - expected.means).max() < 1e-5


@pytest.mark.parametrize("change", [
    lambda m: setattr(m, "joint_matrices", m.joint_matrices[:-1]),
    lambda m: setattr(m, "arkit_weights", b""),
    lambda m: setattr(m, "pose_coefficients", b"123"),
])  # fmt: skip
def test_broken_correction_frames_are_refused(package_bytes, change):
    driver = RigDriver(read_package(package_bytes))
    zero = {"joint_rotations": (55, 3), "translation": 3, "arkit_weights": 52, "gaze": (2, 2)}
    (frame,) = driver.frames([{name: np.zeros(shape, np.float32) for name, shape in zero.items()}])
    message = rig_frame_to_proto(frame)
    change(message)
    with pytest.raises(InvalidInputError):
        rig_frame_from_proto(message)


def test_coefficients_of_another_avatar_are_refused(package_bytes):
    rig = BakedRig(read_package(package_bytes))
    with pytest.raises(InvalidInputError):
        rig.apply(np.tile(np.eye(4)[:3], (55, 1, 1)), np.zeros(99), np.zeros(52))


def test_joint_transforms_take_many_frames_at_once(package_bytes):
    skin = read_package(package_bytes).skinning
    rng = np.random.default_rng(2)
    rotations = rotation_matrices(rng.normal(0, 0.6, (2, 3, 55, 3)))
    shifts = rng.normal(size=(2, 3, 3))
    together = joint_transforms(skin.joints, skin.parents, rotations, shifts)
    assert together.shape == (2, 3, 55, 4, 4)
    joints = skin.joints.astype(np.float64)
    # the plain recursion, joint by joint
    world = [np.eye(4)] * 55
    for j, parent in enumerate(skin.parents):
        local = np.eye(4)
        local[:3, :3] = rotations[1, 2, j]
        local[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0)
        world[j] = local if parent < 0 else world[parent] @ local
    for j in range(55):
        back = np.eye(4)
        back[:3, 3] = -joints[j]
        expected = world[j] @ back
        expected[:3, 3] += shifts[1, 2]
        assert np.abs(together[1, 2, j] - expected).max() < 1e-9


def test_malloc_is_tuned_once_and_environment_wins(monkeypatch):
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1000000")
    assert tune_malloc() == {}
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_")
    done = tune_malloc()
    assert done in ({}, {"mmap_threshold": 32 << 20, "trim_threshold": 256 << 20, "top_pad": 16 << 20})
