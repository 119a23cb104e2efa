"""Trackers of other packages: found through the entry-point group ``lca.trackers``, asked for tracks.

In: the name of an installed tracker and a decoded clip; out: checked :class:`Tracks`. Only the tracker that
was asked for is imported. The interface is described in ``docs/tracks.md``.
"""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lca.errors import InvalidInputError, NotFoundError, PreconditionError

from .decode import Clip
from .tracks import OPTIONAL, REQUIRED, Tracks, check_tracks, load_tracks

GROUP = "lca.trackers"
PREFIX = "tracker:"
"""``tracks="tracker:NAME"`` asks an installed tracker, anything else is a file."""


class Tracker(Protocol):
    """What an entry point of ``lca.trackers`` gives (an object, or a class or function that makes one)."""

    def track(self, frames: NDArray[np.uint8], hints: dict[str, Any]) -> Tracks:
        """Track the main person.

        Args:
            frames: uint8 RGB [T,H,W,3], upright; photos are padded right and below with black.
            hints: ``frame_index`` int [T], ``timestamps`` seconds [T], ``sizes`` (width, height) [T,2] of the
                part that holds the picture, ``focal_px`` or None.

        Returns:
            Tracks whose ``image_size`` is (W, H) and whose ``frame_index`` are among the hinted ones.
        """


def installed_trackers() -> dict[str, EntryPoint]:
    """Entry points by name, unimported."""
    return {point.name: point for point in entry_points(group=GROUP)}


def load_tracker(name: str) -> Tracker:
    """Import one tracker.

    Raises:
        NotFoundError: nobody offers that name; PreconditionError: its import fails or it cannot track.
    """
    known = installed_trackers()
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise NotFoundError(f"No tracker is called {name!r}; installed: {names}. See docs/tracks.md.")
    try:
        made = known[name].load()
        tracker = made if hasattr(made, "track") and not isinstance(made, type) else made()
    except Exception as error:  # whatever the foreign package raises
        raise PreconditionError(f"The tracker {name} cannot be started ({error}).") from error
    if not callable(getattr(tracker, "track", None)):
        raise PreconditionError(f"The tracker {name} has no method track(frames, hints); see docs/tracks.md.")
    return tracker  # type: ignore[no-any-return]


class TrackSource:
    """Where foreign tracks come from: nowhere, a file, a value, or an installed tracker.

    Files are read and trackers imported at once, so that a wrong name costs no decoding.
    """

    def __init__(self, tracks: str | os.PathLike[str] | Tracks | None) -> None:
        self.name = ""
        self._ready: Tracks | None = None
        if isinstance(tracks, str) and tracks.startswith(PREFIX):
            self.name = tracks[len(PREFIX) :]
            self._tracker = load_tracker(self.name)
        elif tracks is not None:
            self._ready = tracks if isinstance(tracks, Tracks) else load_tracks(tracks)

    def read(self, clip: Clip) -> Tracks | None:
        """Tracks of ``clip``, checked; None when there is no source.

        Raises:
            PreconditionError: the tracker fails; InvalidInputError: what it returns breaks a check.
        """
        if not self.name:
            return self._ready
        hints = {
            "frame_index": clip.frame_index.copy(),
            "timestamps": clip.timestamps.copy(),
            "sizes": clip.sizes.copy(),
            "focal_px": clip.focal_px,
        }
        try:
            found = self._tracker.track(clip.frames, hints)
        except Exception as error:  # whatever the foreign package raises
            raise PreconditionError(f"The tracker {self.name} failed ({error}).") from error
        if not isinstance(found, Tracks):
            raise InvalidInputError(f"The tracker {self.name} returned {type(found).__name__}, not Tracks.")
        fields = {k: v for k in (*REQUIRED, *OPTIONAL) if (v := getattr(found, k)) is not None}
        return check_tracks(found.header, **{k: np.asarray(v) for k, v in fields.items()})
