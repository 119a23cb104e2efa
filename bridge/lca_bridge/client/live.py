"""Driving an avatar live from a program that must not wait, such as a user interface.

Poses go in with :meth:`LiveDriver.push`; :meth:`LiveDriver.latest` gives the newest decoded frame, or None if
there is nothing new. A thread of its own talks to the service and keeps one frame in its mailbox; what is
older is given back unread. Errors of the stream come out of :meth:`LiveDriver.latest`.
"""

from __future__ import annotations

import threading

import numpy as np

from lca_bridge.client.animate import AnimatedFrame, AnimateStream, StreamCounts
from lca_bridge.wire.messages import pose_to_proto


class LiveDriver:
    """Use as a context manager; :meth:`push` and :meth:`latest` belong to one thread.

    Args:
        stream: a LATEST stream with a credit of at least 3 (one frame in use, one in the mailbox, one on its
            way); it is closed with the driver.
    """

    def __init__(self, stream: AnimateStream) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._mailbox: AnimatedFrame | None = None
        self._in_use: AnimatedFrame | None = None
        self._failure: Exception | None = None
        self._closed = False
        self._next_id = 1
        self._arrived = threading.Event()
        self._thread = threading.Thread(target=self._pull, name="lca-live", daemon=True)
        self._thread.start()

    def __enter__(self) -> LiveDriver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def counts(self) -> StreamCounts:
        """Frames taken, dropped, warned about so far."""
        return self._stream.counts

    def push(
        self,
        *,
        joint_rotations: np.ndarray | None = None,
        translation: np.ndarray | None = None,
        arkit: np.ndarray | None = None,
        gaze: np.ndarray | None = None,
        light: np.ndarray | None = None,
        time_code: float = 0.0,
    ) -> int:
        """Send a pose (arrays as in :func:`~lca_bridge.wire.messages.pose_to_proto`); never blocks. Returns
        the ``frame_id`` its frame will carry."""
        frame_id, self._next_id = self._next_id, self._next_id + 1
        self._stream.push(
            pose_to_proto(
                frame_id,
                time_code=time_code,
                joint_rotations=joint_rotations,
                translation=translation,
                arkit=arkit,
                gaze=gaze,
                light=light,
            )
        )
        return frame_id

    def latest(self, wait: float = 0.0) -> AnimatedFrame | None:
        """The newest frame since the last call, or None. Its arrays may lie in shared memory: they are valid
        until the next call that returns a frame, or until :meth:`close`.

        Args:
            wait: seconds to wait for a frame if there is none.

        Raises:
            LcaError: the stream has failed; open a new one.
        """
        if wait > 0:
            self._arrived.wait(wait)
        with self._lock:
            self._arrived.clear()
            frame, self._mailbox = self._mailbox, None
            if frame is None:
                if self._failure is not None:
                    failure, self._failure = self._failure, None
                    raise failure
                return None
            before, self._in_use = self._in_use, frame
            if before is not None:
                self._stream.release(before)
        return frame

    def close(self) -> None:
        """End the stream; idempotent."""
        self._closed = True
        self._stream.close()
        self._thread.join(timeout=5)

    def _pull(self) -> None:
        try:
            while (frame := self._stream.take()) is not None:
                with self._lock:
                    unread, self._mailbox = self._mailbox, frame
                    if unread is not None:
                        self._stream.release(unread)
                self._arrived.set()
        except Exception as error:
            if not self._closed:
                self._failure = error
        self._arrived.set()
