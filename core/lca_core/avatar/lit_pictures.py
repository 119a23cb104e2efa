"""Pictures of an avatar in other light: turntable, single frames, the light itself on two balls.

In: an :class:`Avatar` and environments. Out: (H,W,3) uint8 sRGB. A file from before light transfer was stored
gets it here, so that old avatars can be relit too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lca_core.avatar.animate import Animator
from lca_core.avatar.avatar import Avatar
from lca_core.avatar.frame import PoseFrame
from lca_core.avatar.light import KEY, to_srgb, with_light_transfer
from lca_core.avatar.pictures import BACKGROUND, STANDING, View, body_view, head_view, sheet
from lca_core.avatar.pictures import picture as draw
from lca_core.relight.environment import Environment, sh_basis
from lca_core.relight.light import BANDS, Illumination


class LitAvatar:
    """One avatar in one pose, ready for many lights."""

    def __init__(self, avatar: Avatar, frame: PoseFrame | None = None) -> None:
        self.frame = frame or PoseFrame.posed(STANDING)
        if KEY not in avatar.provenance:
            avatar = with_light_transfer(avatar, PoseFrame.posed(STANDING))
        self._animator = Animator(avatar)
        self._posed = self._animator.evaluate(self.frame)

    def seen(self, light: Illumination, view: View) -> NDArray[np.uint8]:
        """One view, highlights included."""
        eye = -(view.viewmat[:3, :3].T @ view.viewmat[:3, 3]).numpy()
        return draw(self._animator.relighter.apply(self._posed, light, eye), view)

    def picture(
        self, environment: Environment, yaw: float, height: int, width: int | None = None
    ) -> NDArray[np.uint8]:
        """The whole body from ``yaw`` radians off the front."""
        return self.seen(
            Illumination.of(environment), body_view(self._animator, self.frame, yaw, height, width)
        )

    def face(self, environment: Environment, size: int) -> NDArray[np.uint8]:
        """The face from the front."""
        return self.seen(Illumination.of(environment), head_view(self._animator, self.frame, 0.0, size))

    def turntable(self, environment: Environment, views: int, height: int) -> NDArray[np.uint8]:
        """A sheet of ``views`` views all round, the light's balls first."""
        light = Illumination.of(environment)
        cells = [("light", balls(environment, height))]
        for k in range(views):
            view = body_view(self._animator, self.frame, 2 * np.pi * k / views, height)
            cells.append((f"{round(360 * k / views)} deg", self.seen(light, view)))
        return sheet([cells])

    def contact_sheet(self, lights: Mapping[str, Environment], height: int) -> NDArray[np.uint8]:
        """Per light a column: balls, body, face; the photographs' light first."""
        view = body_view(self._animator, self.frame, 0.25, height)
        face = head_view(self._animator, self.frame, 0.0, view.width)
        grey = np.full((view.width // 2, view.width, 3), np.array(BACKGROUND) * 255, np.uint8)
        rows: list[list[tuple[str, NDArray[np.uint8]]]] = [
            [("", grey)],
            [("as photographed", draw(self._posed, view))],
            [("", draw(self._posed, face))],
        ]
        for name, environment in lights.items():
            light = Illumination.of(environment)
            rows[0].append((name, np.ascontiguousarray(balls(environment, view.width, across=True))))
            rows[1].append(("", self.seen(light, view)))
            rows[2].append(("", self.seen(light, face)))
        return sheet(rows)


def balls(environment: Environment, length: int, *, across: bool = False) -> NDArray[np.uint8]:
    """A white matt ball and a mirror ball seen from the front, below each other (length, length / 2, 3) or
    side by side: the matt one by the same order-2 light and lamps as the avatar, the mirror shows the
    picture."""
    size = length // 2
    at = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(at, -at)
    inside = x * x + y * y < 0.94**2
    n = np.stack([x / 0.94, y / 0.94, np.sqrt(np.clip(1 - (x * x + y * y) / 0.94**2, 0, 1))], -1)
    light = Illumination.of(environment, highlights=False)
    matt = np.clip(sh_basis(n) @ (light.sh * (BANDS / np.pi)[:, None]), 0, light.ceiling)
    mirror = 2 * n[..., 2:] * n - np.array([0, 0, 1.0])
    height = len(environment.radiance)
    row = np.clip(np.arccos(np.clip(mirror[..., 1], -1, 1)) / np.pi * height, 0, height - 1).astype(int)
    turn = np.arctan2(mirror[..., 0], mirror[..., 2]) / (2 * np.pi) + 0.5
    shiny = environment.radiance[row, np.clip(turn * 2 * height, 0, 2 * height - 1).astype(int)]
    for lamp in environment.lamps:
        if lamp.point:
            continue
        matt = matt + np.clip(n @ lamp.at, 0, None)[..., None] * lamp.rgb
        spot = mirror @ lamp.at > np.cos(np.radians(5))
        shiny = np.where(spot[..., None], shiny + lamp.rgb * 40, shiny)
    pair = [
        np.where(inside[..., None], to_srgb(np.clip(ball, 0, 1)), np.array(BACKGROUND))
        for ball in (matt, shiny)
    ]
    joined = np.concatenate(pair, 1 if across else 0)
    return np.asarray(np.clip(joined, 0, 1) * 255 + 0.5, np.uint8)
