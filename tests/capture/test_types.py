"""Captures as values: taking reference frames away."""

from __future__ import annotations

import numpy as np

from lca_core.capture import Capture


def test_a_capture_without_some_frames_keeps_the_rest_together() -> None:
    n = 4

    def numbered(*shape: int) -> np.ndarray:
        return np.broadcast_to(np.arange(n).reshape(n, *[1] * len(shape)), (n, *shape)).astype(np.float32)

    capture = Capture(
        frames=numbered(6, 4, 3).astype(np.uint8), masks=numbered(6, 4), Ks=numbered(3, 3),
        viewmats=numbered(4, 4), betas=np.arange(50, dtype=np.float32), pose=numbered(55, 3),
        transl=numbered(3), expression=numbered(52), gaze=numbered(2, 2), conf={"body": numbered()},
        frame_index=np.arange(n), timestamps=np.arange(n, dtype=np.float64), image_size=(4, 6),
        sizes=numbered(2).astype(np.int64), height_m=1.7,
    )  # fmt: skip
    left = capture.without([1, 3])
    assert len(left) == 2 and left.height_m == 1.7
    for name, value in vars(capture).items():
        if isinstance(value, np.ndarray) and name != "betas":
            np.testing.assert_array_equal(getattr(left, name), value[[0, 2]], err_msg=name)
    np.testing.assert_array_equal(left.conf["body"], [0, 2])
    np.testing.assert_array_equal(left.betas, capture.betas)
    assert len(capture) == n
