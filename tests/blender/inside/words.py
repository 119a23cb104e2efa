"""Inside Blender: every text of the interface is in every language's table, and none is there for nothing."""

from __future__ import annotations

import ast
import json
import os
import string
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "blender_addon"))

import lca_avatars
from lca_avatars import ops, ui
from lca_avatars.bl import controls, importer, language
from lca_avatars.core.endpoint import refusal
from lca_avatars.ops import tool

SOURCES = sorted(Path(lca_avatars.__file__).parent.rglob("*.py"))
LANGUAGES = sorted(language.FOLDER.glob("*.json"))


def classes() -> Iterator[type]:
    """Everything that the add-on registers."""
    for module in ops._MODULES:
        yield from module.CLASSES
    yield from ui._CLASSES


def declared() -> Iterator[str]:
    """Labels, tooltips, property names and choices that Blender itself shows."""
    for cls in classes():
        yield getattr(cls, "bl_label", "")
        kind = cls.bl_rna
        if issubclass(cls, bpy.types.Operator):
            kind = getattr(bpy.ops.lca, cls.bl_idname.partition(".")[2]).get_rna_type()
            yield kind.description
        for name in own(cls):
            prop = kind.properties.get(name)
            if prop is None or prop.is_hidden:
                continue
            yield from (prop.name, prop.description)
            if prop.type == "ENUM":
                for item in prop.enum_items:
                    yield from (item.name, item.description)


def own(cls: type) -> set[str]:
    """Properties that our own sources define; those of Blender's import and export helpers are Blender's."""
    return {
        name
        for base in cls.__mro__
        if base.__module__.startswith("lca_avatars")
        for name in getattr(base, "__annotations__", ())
    }


def written() -> Iterator[str]:
    """Literals in the sources that go through a translating call, are drawn, or report a stage."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            values = [keyword.value for keyword in node.keywords if keyword.arg == "text"]
            if name in ("iface", "rpt"):
                values += node.args
            if name == "report" and len(node.args) == 2 and not isinstance(node.args[0], ast.Set):
                values.append(node.args[1])
            for value in values:
                yield from literals(value)


def literals(value: ast.expr) -> Iterator[str]:
    """Whole texts in an expression; what a format string puts together at run time is listed below."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    if isinstance(value, (ast.BoolOp, ast.IfExp)):
        for part in ast.iter_child_nodes(value):
            yield from literals(part)


def put_together() -> Iterator[str]:
    """Names that panels look up by a value."""
    yield from (mode.title() for mode in importer.DISPLAY)
    yield "Sending the clip"
    yield from (tool.LOST, refusal("", False), refusal("elsewhere:1", False))
    yield from ("All", "Body", "Hands", "Face", "Left hand", "Right hand", "L > R", "R > L", "Swap")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    rig = importer.import_avatar(os.environ["LCA_TEST_AVATAR"]).rig
    for group in controls.GROUPS:
        for control in controls.sliders(rig, group):
            yield control.label
            if group == "FACE":
                yield control.group


def shown() -> set[str]:
    """Every text an animator can read in the interface."""
    lca_avatars.register()
    try:
        found = {*declared(), *written(), *put_together()}
    finally:
        lca_avatars.unregister()
    return {text for text in found if any(letter.isalpha() for letter in text)}


def fields(text: str) -> list[str]:
    """Names and formats of what is filled in."""
    return sorted(f"{name}:{form}" for _, name, form, _ in string.Formatter().parse(text) if name)


@pytest.mark.parametrize("path", LANGUAGES, ids=lambda path: path.stem)
def test_every_text_is_translated(path: Path) -> None:
    table = json.loads(path.read_text(encoding="utf-8"))
    texts = shown()
    assert not texts - set(table), sorted(texts - set(table))
    assert not set(table) - texts, sorted(set(table) - texts)
    for text, said in table.items():
        assert said.strip(), text
        fields = [
            sorted(f"{name}:{form}" for _, name, form, _ in string.Formatter().parse(t) if name)
            for t in (text, said)
        ]
        assert fields[0] == fields[1], text
    same = [text for text, said in table.items() if text == said]
    assert len(same) < 0.15 * len(table), same


def test_tables_serve_operators_and_everything_else() -> None:
    """The bpy module is built without languages, so what Blender makes of the tables is not seen here."""
    assert {path.stem for path in LANGUAGES} == set(language.tables()) != set()
    for table in language.tables().values():
        texts = {text for _, text in table}
        assert set(table) == {(where, text) for where in ("*", "Operator") for text in texts}
