# SPDX-License-Identifier: GPL-3.0-or-later
"""Translations: one JSON file per language in ``translations/``, source text to translated text.

Blender translates labels, tooltips and plain panel texts by itself once the tables are registered; texts put
together at run time go through :func:`iface` and :func:`rpt`. Reasons of errors stay as the part that raised
them wrote them.
"""

from __future__ import annotations

import json
from pathlib import Path

import bpy

FOLDER = Path(__file__).parents[1] / "translations"
_OWNER = __package__.rpartition(".")[0]
_CONTEXTS = ("*", "Operator")


def tables() -> dict[str, dict[tuple[str, str], str]]:
    """What ``bpy.app.translations.register`` takes: language -> (context, source text) -> translated text.

    A language without country, such as ``de``, serves every country's variant of it.
    """
    found = {}
    for path in sorted(FOLDER.glob("*.json")):
        texts = json.loads(path.read_text(encoding="utf-8"))
        found[path.stem] = {(where, text): said for text, said in texts.items() for where in _CONTEXTS}
    return found


def register() -> None:
    """Tell Blender the tables."""
    bpy.app.translations.register(_OWNER, tables())


def unregister() -> None:
    """Take them back."""
    bpy.app.translations.unregister(_OWNER)


def iface(text: str) -> str:
    """A text of the interface in the user's language; fill values in afterwards (``.format()``)."""
    return str(bpy.app.translations.pgettext_iface(text))


def rpt(text: str) -> str:
    """A report in the user's language."""
    return str(bpy.app.translations.pgettext_rpt(text))
