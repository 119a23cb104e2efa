"""A finished capture as one file, so that a creation that was interrupted goes on behind its longest part.

Plain arrays and JSON in an npz (never pickled); what is read is bit for bit what was written, so a resumed
creation gives the same avatar.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lca.errors import DataLossError

if TYPE_CHECKING:
    from lca_core.capture import Capture

STAGE = "capture"
_PLAIN = ("image_size", "height_m", "notes", "metrics")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(type(value).__name__)


def save_capture(path: Path, capture: Capture) -> None:
    """Write everything but the motion of the whole clip, which creation does not use."""
    arrays: dict[str, Any] = {}
    for field in fields(capture):
        value = getattr(capture, field.name)
        if isinstance(value, np.ndarray):
            arrays[field.name] = value
    arrays |= {f"conf.{name}": values for name, values in capture.conf.items()}
    about = json.dumps({name: getattr(capture, name) for name in _PLAIN}, default=_plain)
    with path.open("wb") as stream:
        np.savez(stream, about=np.frombuffer(about.encode(), np.uint8), **arrays)


def load_capture(path: Path) -> Capture:
    """What :func:`save_capture` wrote; DataLossError if the file is damaged."""
    from lca_core.capture import Capture

    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(arrays.pop("about").tobytes())
        conf = {name[5:]: arrays.pop(name) for name in list(arrays) if name.startswith("conf.")}
        about["image_size"] = tuple(about["image_size"])
        return Capture(conf=conf, **arrays, **about)
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataLossError(
            "The checkpoint of the job is damaged. Start a new job.", reason="CHECKPOINT_DAMAGED"
        ) from error
