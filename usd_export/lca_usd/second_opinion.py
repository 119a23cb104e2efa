"""NVIDIA's validator, where it is installed: a second opinion on geometry, extents and normals.

It is an optional package (``usd-validation-nvidia``); its splat rule VG.035 demands float attributes and is
therefore not among the defaults we run.
"""

from __future__ import annotations

import os
from typing import Any

from lca_usd.transport import unwrapped
from lca_usd.validate import ERROR, WARNING, Issue


def nvidia_issues(path: str | os.PathLike[str]) -> list[Issue] | None:
    """Findings of its default rules, or None when it is not installed.

    Raises:
        NotFoundError, MediaUnreadableError: as :func:`lca_usd.transport.unwrapped`.
    """
    try:
        from usd_validation_nvidia import ValidationEngine
    except ImportError:
        return None
    from pathlib import Path

    with unwrapped(Path(path)) as file:
        results: Any = ValidationEngine().validate(str(file))
        return [
            Issue(
                f"nvidia:{issue.rule.__name__ if issue.rule else 'rule'}",
                str(issue.at or ""),
                str(issue.message),
                ERROR if str(issue.severity).endswith(("ERROR", "FAILURE")) else WARNING,
            )
            for issue in results.issues()
        ]
