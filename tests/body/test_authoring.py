"""The build-time maths, on made-up data: poses, shape statistics, joints, nearest points, base mesh."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca_core.body.authoring import shape_space as shapes
from lca_core.body.authoring.eyelids import meet, socket_rim
from lca_core.body.authoring.face_links import cast, render
from lca_core.body.authoring.makehuman import read_base_mesh
from lca_core.body.authoring.surface import closest_points
from lca_core.body.authoring.tpose import Rig163, axis_rotation, frame, merge_weights, swing, to_tpose
from lca_core.body.build_body import matrices_to_quats
from lca_core.body.names import ARKIT_INDEX, JOINT_INDEX
from lca_core.body.rotation import axis_angle_to_matrix, quaternion_to_matrix

rng = np.random.default_rng(4)


def random_rotations(count: int) -> np.ndarray:
    return axis_angle_to_matrix(torch.from_numpy(rng.normal(size=(count, 3)))).numpy()


def test_swing_and_frame_are_rotations_that_do_what_they_say():
    a, b = rng.normal(size=(2, 50, 3))
    turn = swing(a, b)
    moved = np.einsum("nij,nj->ni", turn, a / np.linalg.norm(a, axis=1, keepdims=True))
    np.testing.assert_allclose(moved, b / np.linalg.norm(b, axis=1, keepdims=True), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-12)
    # The smallest rotation leaves the common normal alone.
    normal = np.cross(a, b)
    np.testing.assert_allclose(np.einsum("nij,nj->ni", turn, normal), normal, atol=1e-10)
    axes = frame(a, b)
    np.testing.assert_allclose(
        np.swapaxes(axes, 1, 2) @ axes, np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-12
    )
    assert (np.einsum("ni,ni->n", axes[:, :, 2], b) > 0).all()
    vectors = torch.zeros(3, 3, dtype=torch.float64).fill_diagonal_(0.7)
    for axis in range(3):
        np.testing.assert_allclose(
            axis_rotation(axis, np.array(0.7)), axis_angle_to_matrix(vectors[axis]).numpy(), atol=1e-12
        )


def _stick_rig() -> tuple[Rig163, np.ndarray, np.ndarray]:
    """A stick figure with every bone the T-pose needs, arms hanging at 45 degrees with bent elbows."""
    bones, parents, heads, tails = ["root"], [-1], [[0, 0.9, 0]], [[0, 1.0, 0]]

    def add(name: str, parent: str, head: list[float], tail: list[float]) -> None:
        bones.append(name)
        parents.append(bones.index(parent))
        heads.append(head)
        tails.append(tail)

    spine = [
        "spine05",
        "spine04",
        "spine03",
        "spine02",
        "spine01",
        "neck01",
        "neck02",
        "neck03",
        "head",
        "jaw",
    ]
    for k, name in enumerate(spine):
        add(name, bones[-1], [0, 1.0 + 0.07 * k, 0], [0, 1.07 + 0.07 * k, 0])
    for side, s in (("L", 1.0), ("R", -1.0)):

        def at(x: float, y: float, z: float, s: float = s) -> list[float]:
            return [s * x, y, z]

        chain = [
            ("pelvis", "root", (0.05, 1, 0)), ("upperleg01", "pelvis", (0.1, 0.95, 0)),
            ("upperleg02", "upperleg01", (0.11, 0.7, 0.01)), ("lowerleg01", "upperleg02", (0.13, 0.5, 0.02)),
            ("lowerleg02", "lowerleg01", (0.14, 0.3, 0)), ("foot", "lowerleg02", (0.16, 0.08, 0)),
            ("clavicle", "spine01", (0.03, 1.4, 0)), ("shoulder01", "clavicle", (0.12, 1.4, 0)),
            ("upperarm01", "shoulder01", (0.18, 1.38, 0)), ("upperarm02", "upperarm01", (0.27, 1.29, 0)),
            ("lowerarm01", "upperarm02", (0.36, 1.2, 0.0)), ("lowerarm02", "lowerarm01", (0.43, 1.125, 0.08)),
            ("wrist", "lowerarm02", (0.5, 1.05, 0.16)), ("eye", "head", (0.03, 1.6, 0.1)),
        ]  # fmt: skip
        for name, parent, point in chain:
            below = parent if parent in ("root", "spine01", "head") else f"{parent}.{side}"
            add(f"{name}.{side}", below, at(*point), at(point[0], point[1] - 0.05, point[2]))
        for toe in range(1, 6):
            add(f"toe{toe}-1.{side}", f"foot.{side}", at(0.17 + 0.02 * toe, 0.02, 0.14), at(0.2, 0.02, 0.2))
        for finger in range(1, 6):
            parent = f"wrist.{side}"
            for k in (1, 2, 3):
                step, spread = 0.03 * k + 0.04, 0.012 * (3 - finger)
                start = at(0.5 + 0.6 * step, 1.05 - 0.6 * step, 0.16 + 0.4 * step + spread)
                end = at(0.5 + 0.6 * (step + 0.03), 1.05 - 0.7 * (step + 0.03), 0.17 + 0.4 * step + spread)
                add(f"finger{finger}-{k}.{side}", parent, start, end)
                parent = f"finger{finger}-{k}.{side}"
    rig = Rig163(bones, np.array(parents), np.eye(len(bones), dtype=np.float32))
    return rig, np.array([heads]), np.array([tails])


def test_any_figure_ends_in_the_t_pose():
    rig, heads, tails = _stick_rig()
    # One vertex per bone, at its head: posed vertices are posed heads.
    vertices, joints, turn = to_tpose(rig, heads.astype(np.float32), heads, tails)
    assert np.abs(joints[0, 0]).max() < 1e-6
    for side, s in (("left", 1.0), ("right", -1.0)):
        names = ("shoulder", "elbow", "wrist", "hip", "ankle", "foot")
        at = {n: joints[0, JOINT_INDEX[f"{side}_{n}"]] for n in names}
        for start, end in (("shoulder", "elbow"), ("elbow", "wrist")):
            step = at[end] - at[start]
            np.testing.assert_allclose(step / np.linalg.norm(step), [s, 0, 0], atol=1e-5)
        leg = at["ankle"] - at["hip"]
        assert np.degrees(np.arctan2(s * leg[0], -leg[1])) == pytest.approx(3, abs=0.01)
        assert abs((at["foot"] - at["ankle"])[0]) < 1e-6
        for finger in ("index", "middle", "ring", "pinky"):
            tips = [joints[0, JOINT_INDEX[f"{side}_{finger}{k}"]] for k in (1, 2, 3)]
            assert np.ptp([t[1] for t in tips]) < 1e-5
            assert np.linalg.norm(np.cross(tips[1] - tips[0], tips[2] - tips[1])) < 1e-7
    mirror = joints[0] * [-1, 1, 1]
    left, right = JOINT_INDEX["left_index3"], JOINT_INDEX["right_index3"]
    np.testing.assert_allclose(mirror[left], joints[0, right], atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(turn[0]), 1, atol=1e-5)
    ends = [rig.index("upperarm01.L"), rig.index("wrist.L")]
    bent, straight = (np.linalg.norm(np.diff(x[0][ends], axis=0)) for x in (heads, vertices))
    assert straight > bent


def test_merged_weights_keep_everything():
    rig, _, _ = _stick_rig()
    merged = merge_weights(rig)
    np.testing.assert_allclose(merged.sum(axis=1), 1)
    pairs = {
        "spine01": "spine3", "upperleg02.L": "left_hip", "neck03": "head", "finger5-2.R": "right_pinky2",
        "shoulder01.R": "right_collar", "root": "pelvis",
    }  # fmt: skip
    for bone, joint in pairs.items():
        assert merged[rig.index(bone), JOINT_INDEX[joint]] == 1


def test_shape_space_recovers_a_linear_population():
    basis = rng.normal(size=(3, 40, 3)) * np.array([3, 2, 1])[:, None, None]
    scores = rng.normal(size=(200, 3))
    people = (rng.normal(size=(40, 3)) + np.einsum("nk,kvc->nvc", scores, basis)).astype(np.float32)
    chosen = np.arange(0, 40, 2)
    space = shapes.shape_space(people, chosen, np.ones(20), 3)
    rebuilt = space.mean + np.einsum("nk,kvc->nvc", space.scores, space.components)
    np.testing.assert_allclose(rebuilt, people, atol=2e-4)  # also the vertices the components never saw
    np.testing.assert_allclose(space.scores.std(axis=0, ddof=1), 1, atol=1e-6)


def test_joint_regressor_finds_a_linear_joint_and_ignores_forbidden_vertices():
    people = (rng.normal(size=(60, 3)) * 0.2 + rng.normal(size=(300, 60, 3)) * 0.02).astype(np.float32)
    usable = np.ones((2, 60), bool)
    usable[:, :10] = False
    joints = np.stack([people[:, 20:30].mean(axis=1), people[:, 40] * 1.5 - people[:, 41] * 0.5], axis=1)
    regressor = shapes.joint_regressor(people, joints, usable, nearest=50, keep=50, ridge=1e-12)
    np.testing.assert_allclose(np.einsum("jv,nvc->njc", regressor, people), joints, atol=1e-5)
    np.testing.assert_allclose(regressor.sum(axis=1), 1, atol=1e-9)
    assert (regressor[:, :10] == 0).all()


def test_vertex_order_puts_vertices_into_their_slots():
    order = shapes.vertex_order(8, {"a": 5, "b": 0}, {"a": 2, "b": 7})
    assert order.tolist() == [1, 2, 5, 3, 4, 6, 7, 0]


def test_quaternions_of_blended_rotations():
    matrices = random_rotations(50)
    again = quaternion_to_matrix(torch.from_numpy(matrices_to_quats(matrices * 1.3))).numpy()
    np.testing.assert_allclose(again, matrices, atol=1e-12)


def test_closest_points_beat_a_dense_sampling_of_the_triangles():
    triangles, points = rng.normal(size=(12, 3, 3)), rng.normal(size=(30, 3)) * 1.5
    index, bary = closest_points(points, triangles)
    assert (bary >= 0).all()
    np.testing.assert_allclose(bary.sum(axis=1), 1, atol=1e-12)
    found = np.einsum("pkc,pk->pc", triangles[index], bary)
    dense = np.einsum("fkc,sk->fsc", triangles, rng.dirichlet(np.ones(3), 4000)).reshape(-1, 3)
    nearest = np.linalg.norm(dense[None] - points[:, None], axis=2).min(axis=1)
    distance = np.linalg.norm(found - points, axis=1)
    assert (distance <= nearest + 1e-12).all() and (nearest - distance < 0.15).all()


def test_cast_hits_what_was_rendered_and_leaves_forbidden_faces():
    vertices = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * 0.4
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    image, face, pixels = render(vertices, faces, np.ones((4, 3)), np.zeros(2), 1.0)
    assert image[128, 200].mean() != pytest.approx(image[2, 2].mean())
    points = np.array([[180.0, 150.0], [100.0, 90.0], [128.0, 126.0], [3.0, 3.0]])
    allowed = np.ones((4, 2), bool)
    allowed[2, face[(126 * 3), (128 * 3)]] = False
    hit, bary = cast(points, face, pixels, faces, allowed)
    assert hit[3] == -1 and hit[0] != hit[1]
    back = np.einsum("pkc,pk->pc", pixels[faces[hit[:2]]], bary[:2])
    np.testing.assert_allclose(back, points[:2], atol=1e-9)
    assert allowed[2, hit[2]]
    assert np.linalg.norm(np.einsum("kc,k->c", pixels[faces[hit[2]]], bary[2]) - points[2]) < 4


def test_base_mesh_reader(tmp_path):
    path = tmp_path / "base.obj"
    path.write_text(
        "v 0 0 0\nvt 0.1 0.2\nvt 0.3 0.4\nvt 0.5 0.6\nvt 0.7 0.8\n"
        "g body\nf 1/1 2/2 3/3 4/4\ng helper\nf 1/1 2/2 3/3\ng body\nf 4/4 3/3 2/2 1/1\n"
    )
    mesh = read_base_mesh(path)
    assert mesh.group_names == ("body", "helper") and mesh.group.tolist() == [0, 1, 0]
    assert mesh.quads.tolist() == [[0, 1, 2, 3], [0, 1, 2, 2], [3, 2, 1, 0]]
    np.testing.assert_allclose(mesh.uvs[3], [0.7, 0.8])


def _made_up_eye(drop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper lid (0-8), lower lid (9-17) and a far brow; a blink that lowers the upper lid by ``drop`` m."""
    x = np.linspace(-0.01, 0.01, 9)
    bow = 0.004 * (1 - np.square(x / 0.011))
    lids = [np.stack([x, sign * bow, np.full(9, 0.012)], 1) for sign in (1, -1)]
    vertices = np.concatenate([*lids, [[0, 0.05, 0.0]]])
    blink = np.zeros_like(vertices)
    blink[:9, 1] = -drop
    blink[:9, 0] = 0.1 * drop
    blink[-1, 1] = -0.003
    return vertices, blink


def test_lids_that_overshoot_or_fall_short_are_made_to_meet():
    vertices, blink = _made_up_eye(np.linspace(0.0045, 0.016, 9))
    closed = vertices + meet(blink, vertices, np.arange(18), np.zeros(3))
    ends = closed[:9]
    gap = ends[:, 1] - np.interp(ends[:, 0], vertices[9:18, 0], vertices[9:18, 1])
    np.testing.assert_allclose(gap[1:-1], -0.0004, atol=2e-5)
    np.testing.assert_allclose(closed[9:], (vertices + blink)[9:])
    with pytest.raises(ValueError, match="no upper lid"):
        meet(0 * blink, vertices, np.arange(18), np.zeros(3))


def test_lids_of_the_body_close_at_one_and_are_half_open_at_a_half(body):
    v, faces = body.v_template.numpy(), body.faces.numpy().astype(np.int64)
    rim = socket_rim(faces, body.cavity.numpy().astype(bool))
    people = torch.from_numpy(rng.normal(size=(40, 50)).astype(np.float32))
    for side in ("Left", "Right"):
        centre = body.rest(torch.zeros(1, 50))[1][0, JOINT_INDEX[f"{side.lower()}_eye_smplhf"]].numpy()
        near = rim[np.linalg.norm(v[rim] - centre, axis=1) < 0.022]
        shape = torch.zeros(1, 52)
        shape[0, ARKIT_INDEX[f"eyeBlink{side}"]] = 1
        drop = v[near, 1] - body.rest(torch.zeros(1, 50), shape)[0][0, near, 1].numpy()
        upper, lower = near[drop > 0.004], near[np.abs(drop) < 0.0015]
        lower = lower[np.argsort(v[lower, 0])]
        assert len(upper) >= 5
        opening = []
        for weight in (0.0, 0.5, 1.0):
            rest = body.rest(people, weight * shape.expand(40, -1))[0].numpy()
            floor = [np.interp(p[upper, 0], p[lower, 0], p[lower, 1]) for p in rest]
            opening.append(rest[:, upper, 1] - np.stack(floor))
        wide, half, shut = (np.mean(o, 0) for o in opening)
        assert (wide > 0.0025).all()
        np.testing.assert_allclose(half, (wide + shut) / 2, atol=3e-4)
        # People differ: one lid in twenty stays open by half a millimetre, none by 2.5 mm either way.
        np.testing.assert_allclose(shut, -0.0004, atol=4e-4)
        assert np.quantile(opening[2], 0.95) < 0.0006 and np.abs(opening[2]).max() < 0.0025
