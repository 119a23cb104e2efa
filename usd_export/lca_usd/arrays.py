"""Where numpy meets Vt: every array that enters or leaves a USD attribute passes through here.

The one trap this module exists for: ``Vt.Quat*Array.FromNumpy`` and numpy views of those arrays are x,y,z,w,
while ``Gf.Quat*`` constructors, USD text and everything of ours are w,x,y,z. Gf matrices are row-vector, the
transpose of ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pxr import Gf, Vt

Array = npt.NDArray[Any]


def _rows(values: npt.ArrayLike, width: int, dtype: npt.DTypeLike) -> Array:
    return np.ascontiguousarray(np.asarray(values, dtype=dtype).reshape(-1, width))


def vec3f(values: npt.ArrayLike) -> Vt.Vec3fArray:
    """(N,3) -> float3[]."""
    return Vt.Vec3fArray.FromNumpy(_rows(values, 3, np.float32))


def vec3h(values: npt.ArrayLike) -> Vt.Vec3hArray:
    """(N,3) -> half3[], rounded to nearest."""
    return Vt.Vec3hArray.FromNumpy(_rows(values, 3, np.float16))


def vec2f(values: npt.ArrayLike) -> Vt.Vec2fArray:
    """(N,2) -> float2[]."""
    return Vt.Vec2fArray.FromNumpy(_rows(values, 2, np.float32))


def vec4f(values: npt.ArrayLike) -> Vt.Vec4fArray:
    """(N,4) -> float4[] (also color4f[])."""
    return Vt.Vec4fArray.FromNumpy(_rows(values, 4, np.float32))


def quatf(wxyz: npt.ArrayLike) -> Vt.QuatfArray:
    """(N,4) wxyz -> quatf[]."""
    return Vt.QuatfArray.FromNumpy(np.ascontiguousarray(_rows(wxyz, 4, np.float32)[:, [1, 2, 3, 0]]))


def quath(wxyz: npt.ArrayLike) -> Vt.QuathArray:
    """(N,4) wxyz -> quath[], rounded to nearest."""
    return Vt.QuathArray.FromNumpy(np.ascontiguousarray(_rows(wxyz, 4, np.float16)[:, [1, 2, 3, 0]]))


def wxyz(quats: Any) -> npt.NDArray[np.float32]:
    """quatf[] or quath[] -> (N,4) float32 wxyz."""
    if quats is None or len(quats) == 0:
        return np.zeros((0, 4), np.float32)
    return np.asarray(quats, dtype=np.float32).reshape(-1, 4)[:, [3, 0, 1, 2]]


def floats(values: npt.ArrayLike) -> Vt.FloatArray:
    """(N,) or anything flattened -> float[]."""
    return Vt.FloatArray.FromNumpy(np.ascontiguousarray(np.asarray(values, np.float32).ravel()))


def halfs(values: npt.ArrayLike) -> Vt.HalfArray:
    """(N,) or anything flattened -> half[]."""
    return Vt.HalfArray.FromNumpy(np.ascontiguousarray(np.asarray(values, np.float16).ravel()))


def ints(values: npt.ArrayLike) -> Vt.IntArray:
    """(N,) or anything flattened -> int[]."""
    return Vt.IntArray.FromNumpy(np.ascontiguousarray(np.asarray(values, np.int32).ravel()))


def translation_matrix(offset: npt.ArrayLike) -> Gf.Matrix4d:
    """(3,) metres -> row-vector 4x4 with the translation in the last row."""
    x, y, z = (float(v) for v in np.asarray(offset).ravel())
    return Gf.Matrix4d(1.0).SetTranslate(Gf.Vec3d(x, y, z))


def bounds(low: npt.ArrayLike, high: npt.ArrayLike) -> Vt.Vec3fArray:
    """Two (3,) corners -> the two-element float3[] of an ``extent``."""
    return vec3f(np.stack([np.asarray(low, np.float32), np.asarray(high, np.float32)]))
