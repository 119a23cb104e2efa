"""Laws of the rotation conversions: round trips, agreement with the matrix exponential, finite gradients at
0.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from lca_core.body import rotation

axis = st.tuples(*[st.floats(-1, 1) for _ in range(3)]).filter(lambda v: sum(x * x for x in v) > 1e-2)
angle = st.one_of(st.floats(0, 3.14), st.floats(0, 2e-3), st.just(0.0))


def vector(direction: tuple[float, ...], size: float) -> torch.Tensor:
    d = torch.tensor(direction, dtype=torch.float64)
    return d / d.norm() * size


@settings(max_examples=80, deadline=None)
@given(axis, angle)
def test_matrix_is_the_exponential_of_the_skew_matrix(direction, size):
    v = vector(direction, size)
    # SciPy's exponential: torch's is off by 1e-10 for some angles below 0.05.
    truth = torch.from_numpy(expm(rotation.skew(v).numpy()))
    torch.testing.assert_close(rotation.axis_angle_to_matrix(v), truth, atol=1e-12, rtol=0)


@settings(max_examples=80, deadline=None)
@given(axis, angle)
def test_round_trips(direction, size):
    v = vector(direction, size)
    matrix = rotation.axis_angle_to_matrix(v)
    quaternion = rotation.axis_angle_to_quaternion(v)
    torch.testing.assert_close(rotation.quaternion_to_matrix(quaternion), matrix, atol=1e-12, rtol=0)
    torch.testing.assert_close(rotation.quaternion_to_axis_angle(quaternion), v, atol=1e-9, rtol=0)
    torch.testing.assert_close(rotation.matrix_to_axis_angle(matrix), v, atol=1e-8, rtol=0)
    torch.testing.assert_close(rotation.matrix_to_quaternion(matrix), quaternion, atol=1e-9, rtol=0)


def test_half_turns_survive_as_matrices():
    turns = torch.cat([torch.eye(3), -torch.eye(3), torch.ones(1, 3) / math.sqrt(3)]).double() * math.pi
    matrix = rotation.axis_angle_to_matrix(turns)
    again = rotation.axis_angle_to_matrix(rotation.matrix_to_axis_angle(matrix))
    torch.testing.assert_close(again, matrix, atol=1e-7, rtol=0)


@settings(max_examples=40, deadline=None)
@given(axis, angle, axis, angle)
def test_quaternion_product_is_matrix_product(d1, a1, d2, a2):
    p, q = (rotation.axis_angle_to_quaternion(vector(d, a)) for d, a in ((d1, a1), (d2, a2)))
    both = rotation.quaternion_to_matrix(rotation.quaternion_multiply(p, q))
    expected = rotation.quaternion_to_matrix(p) @ rotation.quaternion_to_matrix(q)
    torch.testing.assert_close(both, expected, atol=1e-12, rtol=0)
    one = rotation.quaternion_multiply(p, rotation.quaternion_conjugate(p))
    torch.testing.assert_close(one, torch.tensor([1.0, 0, 0, 0], dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("size", [0.0, 1e-9, 1e-4, 9.99e-4, 1.001e-3, 0.3, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_and_right(size, dtype):
    v = vector((0.3, -0.5, 0.8), size).to(dtype).expand(2, 3).clone().requires_grad_()
    trip = rotation.matrix_to_axis_angle(rotation.axis_angle_to_matrix(v))
    (gradient,) = torch.autograd.grad(trip.sum(), v)
    # A round trip is the identity, so its gradient is all ones.
    torch.testing.assert_close(
        gradient, torch.ones_like(gradient), atol=2e-3 if dtype == torch.float32 else 1e-6, rtol=0
    )


def test_gradcheck_across_the_taylor_switch():
    points = torch.stack([vector((1.0, 2.0, -0.5), s) for s in (0.0, 9.9e-4, 1.01e-3, 1.0)]).requires_grad_()
    assert torch.autograd.gradcheck(rotation.axis_angle_to_matrix, points)
    assert torch.autograd.gradcheck(rotation.axis_angle_to_quaternion, points)
