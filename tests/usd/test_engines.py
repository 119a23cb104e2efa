"""Engine scripts, as far as no engine is needed: tables follow the rig, the Unreal plan follows the file,
every file parses.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lca.errors import InvalidInputError
from lca_core.body.names import ARKIT_NAMES, JOINT_NAMES
from lca_core.body.rig import default_rig
from lca_usd import export_usd

ENGINES = Path(__file__).parents[2] / "usd_export" / "engines"
SHARP = sorted((ENGINES / "unity").glob("*.cs")) + sorted((ENGINES / "unity").glob("*.compute"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ENGINES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["unreal_names.json", "unity/LcaHumanoid.cs"])
def test_tables_are_current(name: str) -> None:
    assert (ENGINES / name).read_text(encoding="utf-8") == load("make_tables").TABLES[name]()


def test_tables_name_every_joint_and_shape_once() -> None:
    text = (ENGINES / "unity" / "LcaHumanoid.cs").read_text(encoding="utf-8")
    pairs = dict(re.findall(r'\{ "(\w+)", "([\w ]+)" \}', text))
    assert set(pairs) <= set(JOINT_NAMES) and len(set(pairs.values())) == len(pairs)
    # Unity's required human bones, as HumanTrait.RequiredBone lists them.
    required = {"Hips", "Spine", "Head"} | {
        side + bone
        for side in ("Left", "Right")
        for bone in ("UpperLeg", "LowerLeg", "Foot", "UpperArm", "LowerArm", "Hand")
    }
    assert required <= set(pairs.values())
    assert pairs["left_index1"] == "Left Index Proximal" and pairs["left_pinky3"] == "Left Little Distal"
    assert re.findall(r'^ +"(\w+)",$', text, re.M) == list(ARKIT_NAMES)
    names = json.loads((ENGINES / "unreal_names.json").read_text(encoding="utf-8"))
    for rig, table in names.items():
        assert len(set(table.values())) == len(table) > 50, rig


def test_the_unreal_plan_follows_the_file(template: Path, tmp_path: Path) -> None:
    export_usd(template, tmp_path / "a.usdz", preset="unreal")
    plan = load("unreal_import").plan(str(tmp_path / "a.usdz"))
    assert plan.curves == tuple(ARKIT_NAMES)
    by_target = {control.targets: control for control in plan.controls}
    for name in ARKIT_NAMES:
        control = by_target[(name,)]
        assert (control.kind, control.low, control.high, control.default) == ("curve", 0, 1, 0)
    rig = default_rig()
    assert len(plan.controls) == len(rig.controls)
    turning = [control for control in plan.controls if control.kind == "joints"]
    assert turning and all(set(control.targets) <= set(JOINT_NAMES) for control in turning)
    assert {k: v for k, v in plan.bones.items() if v} == dict(rig.name_maps["unreal5"])
    assert len({control.name for control in plan.controls}) == len(plan.controls)


def test_the_unreal_plan_refuses_other_files(tmp_path: Path) -> None:
    from pxr import Usd

    stage = Usd.Stage.CreateNew(str(tmp_path / "x.usda"))
    stage.GetRootLayer().Save()
    with pytest.raises(ValueError, match="no LCA avatar"):
        load("unreal_import").plan(str(tmp_path / "x.usda"))


def test_scripts_parse_and_say_that_they_never_ran() -> None:
    for path in ENGINES.glob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"))
    assert "NOT RUN IN AN ENGINE" in (ENGINES / "unreal_import.py").read_text(encoding="utf-8")
    for path in SHARP:
        assert "ot run in an engine" in path.read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize("path", SHARP, ids=lambda p: p.name)
def test_brackets_balance(path: Path) -> None:
    assert balanced(path.read_text(encoding="utf-8")) == ""


def test_the_bracket_check_can_fail() -> None:
    assert balanced('class A { void B() { C("}"); }') == "{"
    assert balanced("a(b]") == "]"


def balanced(text: str) -> str:
    """C-like source without strings, characters and comments: "" or the first bracket that has no partner."""
    bare = re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', "", text, flags=re.S)
    partner, open_ = {")": "(", "]": "[", "}": "{"}, []
    for letter in bare:
        if letter in "([{":
            open_.append(letter)
        elif letter in partner and (not open_ or open_.pop() != partner[letter]):
            return letter
    return open_[-1] if open_ else ""


def test_a_malformed_finger_table_is_refused(make_package: Any, tmp_path: Path) -> None:
    rig = {"joint_names": JOINT_NAMES, "arkit_names": ARKIT_NAMES, "fingers": [{"joints": ["nobody"]}]}
    with pytest.raises(InvalidInputError, match="finger"):
        export_usd(make_package(60, rig=rig).path, tmp_path / "a.usdz")
