"""GaussianSet, cameras and harmonics: laws of the values the renderer takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lca.errors import InvalidInputError
from lca_core.splat import GaussianSet, concatenate, intrinsics, look_at, orbit, rotate_sh
from lca_core.splat._torch import rotation_matrices
from lca_core.splat.gaussians import matrix_to_quaternion, quaternion_multiply
from lca_core.splat.harmonics import C0, sh_basis, sh_colors


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some(n: int = 7, k: int = 4, dtype: torch.dtype = torch.float32) -> GaussianSet:
    g = generator(n)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=dtype)

    return GaussianSet(rand(n, 3), rand(n, 4), rand(n, 3), rand(n), rand(n, k, 3) - 0.5)


def turns(n: int) -> Tensor:
    return rotation_matrices(torch.randn(n, 4, generator=generator(3), dtype=torch.float64))


def test_matrix_and_quaternion_round_trip() -> None:
    special = torch.diag_embed(
        torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    )
    matrices = torch.cat([turns(200), special])
    q = matrix_to_quaternion(matrices)
    torch.testing.assert_close(rotation_matrices(q), matrices)
    assert bool((q[:, 0] >= 0).all())
    a, b = matrices[:100], matrices[100:200]
    product = quaternion_multiply(matrix_to_quaternion(a), matrix_to_quaternion(b))
    torch.testing.assert_close(rotation_matrices(product), a @ b)


def test_colors_round_trip() -> None:
    s = some()
    colors = torch.rand(7, 3, generator=generator())
    made = GaussianSet.from_colors(s.means, s.quats, s.scales, s.opacities, colors)
    torch.testing.assert_close(made.colors(), colors)
    assert made.sh_degree == 0 and len(made) == 7


def test_subset_and_concatenate_are_inverse() -> None:
    s = some(9)
    index = torch.tensor([4, 0, 8])
    assert torch.equal(s.subset(index).means, s.means[index])
    mask = torch.zeros(9, dtype=torch.bool)
    mask[index] = True
    assert len(s.subset(mask)) == 3
    back = concatenate([s.subset(slice(0, 5)), s.subset(slice(5, 9))])
    assert all(
        torch.equal(getattr(back, n), getattr(s, n)) for n in ("means", "quats", "scales", "opacities", "sh")
    )
    mixed = concatenate([some(2, 1), some(3, 16)])
    assert mixed.sh.shape == (5, 16, 3) and float(mixed.sh[:2, 1:].abs().max()) == 0


def test_to_changes_every_tensor() -> None:
    s = some().to(torch.float64)
    assert {getattr(s, n).dtype for n in ("means", "quats", "scales", "opacities", "sh")} == {torch.float64}


def test_transformed_there_and_back() -> None:
    s = some(k=25, dtype=torch.float64)
    turn, shift = turns(1)[0], torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)
    there = s.transformed(turn, shift)
    torch.testing.assert_close(rotation_matrices(there.quats), turn @ rotation_matrices(s.quats))
    back = there.transformed(turn.T, -turn.T @ shift)
    for name in ("means", "scales", "opacities", "sh"):
        torch.testing.assert_close(getattr(back, name), getattr(s, name))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quats": torch.zeros(7, 3)}, "quats"),
        ({"scales": torch.zeros(6, 3)}, "scales"),
        ({"sh": torch.zeros(7, 3)}, "sh"),
        ({"sh": torch.zeros(7, 5, 3)}, "bands"),
        ({"opacities": torch.zeros(7, dtype=torch.int32)}, "opacities"),
        ({"means": [[0.0, 0.0, 0.0]]}, "means"),
    ],
)
def test_wrong_gaussians_are_refused(change: dict[str, object], words: str) -> None:
    s = some()
    parts = {n: getattr(s, n) for n in ("means", "quats", "scales", "opacities", "sh")}
    with pytest.raises(InvalidInputError, match=words):
        GaussianSet(**{**parts, **change})  # type: ignore[arg-type]


def test_harmonics_are_orthonormal() -> None:
    """Integral of Y_i Y_j over the sphere is the identity (Gauss-Legendre, exact for degree 8)."""
    nodes, weights = np.polynomial.legendre.leggauss(9)
    phi = torch.arange(18, dtype=torch.float64) * 2 * math.pi / 18
    z = torch.from_numpy(nodes)[:, None].expand(9, 18)
    r = torch.sqrt(1 - z * z)
    basis = sh_basis(4, torch.stack([r * phi.cos(), r * phi.sin(), z], dim=-1))
    area = torch.from_numpy(weights)[:, None, None, None] * 2 * math.pi / 18
    gram = (area * basis[..., :, None] * basis[..., None, :]).sum((0, 1))
    torch.testing.assert_close(gram, torch.eye(25, dtype=torch.float64), atol=1e-7, rtol=0)


def test_harmonics_have_inria_order_and_signs() -> None:
    """Degree 1 of the Inria code: -C1 y, C1 z, -C1 x."""
    basis = sh_basis(1, torch.eye(3))
    c1 = 0.4886025119029199
    expected = torch.tensor([[C0, 0, 0, -c1], [C0, -c1, 0, 0], [C0, 0, c1, 0]])
    torch.testing.assert_close(basis, expected)


def test_rotated_harmonics_are_the_rotated_light() -> None:
    g = generator()
    coefficients = 0.1 * torch.randn(5, 25, 3, generator=g, dtype=torch.float64)
    directions = torch.randn(5, 3, generator=g, dtype=torch.float64)
    turn = turns(1)[0]
    before = sh_colors(4, directions, coefficients)
    after = sh_colors(4, directions @ turn.T, rotate_sh(coefficients, turn))
    torch.testing.assert_close(before, after)


def test_look_at_puts_the_target_on_the_axis() -> None:
    g = generator()
    for _ in range(20):
        eye, target = torch.randn(3, generator=g), torch.randn(3, generator=g)
        view = look_at(eye, target)
        turn = view[:3, :3]
        torch.testing.assert_close(turn @ turn.T, torch.eye(3), atol=1e-6, rtol=0)
        assert float(torch.linalg.det(turn)) == pytest.approx(1.0, abs=1e-5)
        seen = turn @ target + view[:3, 3]
        torch.testing.assert_close(
            seen, torch.tensor([0.0, 0.0, float((target - eye).norm())]), atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(turn @ eye + view[:3, 3], torch.zeros(3), atol=1e-5, rtol=0)
        above = turn @ (target + torch.tensor([0.0, 0.1, 0.0])) + view[:3, 3]
        assert (
            float(above[1]) < 0 and abs(float(above[0])) < 1e-5
        )  # up in the world = up in the picture (y down)


def test_look_at_straight_down_and_at_itself() -> None:
    view = look_at((0.0, 3.0, 0.0), (0.0, 0.0, 0.0))
    torch.testing.assert_close(view[:3, :3] @ view[:3, :3].T, torch.eye(3), atol=1e-6, rtol=0)
    assert float((view @ torch.tensor([0.0, 0.0, 1.0, 1.0]))[1]) < 0  # +Z points up in the picture
    with pytest.raises(InvalidInputError, match="eye"):
        look_at((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))


def test_intrinsics_see_the_field_of_view() -> None:
    k = intrinsics(60.0, 80, 40)
    edge = k @ torch.tensor([0.0, math.tan(math.radians(30.0)), 1.0])
    assert float(edge[1]) == pytest.approx(40.0, abs=1e-4) and float(edge[0]) == pytest.approx(40.0)
    for wrong in ((0.0, 10, 10), (180.0, 10, 10), (40.0, 0, 10)):
        with pytest.raises(InvalidInputError):
            intrinsics(*wrong)


def test_orbit_goes_round_from_the_front_to_the_left() -> None:
    target = torch.tensor([0.1, 0.9, -0.2])
    views = orbit(target, 2.5, 8, elevation=20.0)
    eyes = torch.linalg.inv(views)[:, :3, 3] - target
    torch.testing.assert_close(eyes.norm(dim=1), torch.full((8,), 2.5), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        eyes[:, 1], torch.full((8,), 2.5 * math.sin(math.radians(20.0))), atol=1e-5, rtol=0
    )
    assert float(eyes[0, 2]) > 2 and float(eyes[2, 0]) > 2
