"""What must not leave the service: where its files lie. Nothing else here knows what callers may read."""

from __future__ import annotations

import re
from pathlib import Path


class PathHider:
    """Replaces paths below ``folder`` in a text; file names of callers stay."""

    def __init__(self, folder: Path) -> None:
        roots = sorted({str(folder), str(folder.absolute()), str(folder.resolve())}, key=len, reverse=True)
        self._paths = re.compile("|".join(rf"{re.escape(root)}[^\s'\"),;:]*" for root in roots))

    def __call__(self, text: str) -> str:
        """The text without such paths."""
        return self._paths.sub("a file of the service", text)
