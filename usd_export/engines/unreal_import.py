"""Imports an LCA avatar into Unreal Engine 5 and builds a Control Rig from the controls its USD describes.

NOT RUN IN AN ENGINE. `plan` (what to build) is plain Python over USD and is tested; `build` (the `unreal`
calls) is written from the documented Python API and has only been checked for syntax.

In the editor: py unreal_import.py C:/path/anna.usdz [/Game/Avatars/Anna]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

CONTROLS = "/Avatar/Rig/Controls"
SKELETON = "/Avatar/Rig/Skeleton"
RIG_GRAPH = "/Script/ControlRig.RigUnit_"


@dataclass(frozen=True)
class FloatControl:
    """One slider: its name in the rig, limits, what it drives ("curve" or "joints") and the targets."""

    name: str
    label: str
    group: str
    low: float
    high: float
    default: float
    kind: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What `build` makes: morph curves, controls, and each joint's UE5 mannequin bone ("" for none)."""

    curves: tuple[str, ...]
    controls: tuple[FloatControl, ...]
    bones: dict[str, str] = field(default_factory=dict)


def plan(path: str) -> Plan:
    """Read the metadata of an exported .usdz or .usdc."""
    from pxr import Usd

    stage = Usd.Stage.Open(path)
    scope, skeleton = stage.GetPrimAtPath(CONTROLS), stage.GetPrimAtPath(SKELETON)
    if not scope or not skeleton:
        raise ValueError(f"{path} holds no LCA avatar (no {SKELETON}).")
    controls = []
    for attribute in scope.GetAttributes():
        if not attribute.GetName().startswith("rig:"):
            continue
        soft = (attribute.GetMetadata("limits") or {}).get("soft", {})
        kind, _, targets = str(attribute.GetCustomDataByKey("lca:drives") or "").partition(":")
        controls.append(
            FloatControl(
                attribute.GetName().replace(":", "_"),
                attribute.GetMetadata("displayName") or attribute.GetBaseName(),
                attribute.GetMetadata("displayGroup") or "Rig",
                float(soft.get("minimum", 0.0)),
                float(soft.get("maximum", 1.0)),
                float(attribute.Get() or 0.0),
                {"blendShapes": "curve"}.get(kind, kind),
                tuple(part for part in targets.split(",") if part),
            )
        )
    curves = tuple(stage.GetPrimAtPath("/Avatar/Rig/Anim").GetAttribute("blendShapes").Get() or ())
    joints = [str(token).rpartition("/")[2] for token in skeleton.GetAttribute("joints").Get()]
    names = skeleton.GetAttribute("lca:names:unreal5").Get() or [""] * len(joints)
    return Plan(curves, tuple(controls), dict(zip(joints, map(str, names))))


def build(path: str, folder: str) -> None:
    """Import the file into the content folder and make `CR_<name>` beside the skeletal mesh."""
    import unreal  # only inside the editor

    todo = plan(path)
    options = unreal.UsdStageImportOptions()
    options.set_editor_property("import_actors", False)
    options.set_editor_property("import_geometry", True)
    options.set_editor_property("import_skeletal_animations", True)
    options.set_editor_property("import_materials", True)
    task = unreal.AssetImportTask()
    task.set_editor_property("filename", path)
    task.set_editor_property("destination_path", folder)
    task.set_editor_property("automated", True)
    task.set_editor_property("save", True)
    task.set_editor_property("options", options)
    unreal.AssetToolsHelpers.get_asset_tools().import_asset_tasks([task])

    library = unreal.EditorAssetLibrary
    meshes = [
        asset
        for name in library.list_assets(folder, recursive=True)
        if isinstance(asset := library.load_asset(name), unreal.SkeletalMesh)
    ]
    if not meshes:
        raise RuntimeError(
            f"Unreal imported no skeletal mesh from {path}; is the USD Importer plug-in enabled?"
        )
    missing = set(todo.curves) - {str(name) for name in meshes[0].get_all_morph_target_names()}
    if missing:
        unreal.log_warning(f"Morph targets that did not arrive: {', '.join(sorted(missing))}")
    blueprint = unreal.ControlRigBlueprintFactory.create_control_rig_from_skeletal_mesh_or_skeleton(meshes[0])
    hierarchy = blueprint.get_hierarchy_controller()
    graph = blueprint.get_controller_by_name("RigVMModel") or blueprint.get_controller()
    for name in todo.curves:
        hierarchy.add_curve(name, 0.0)
    for row, control in enumerate(todo.controls):
        _add_control(unreal, hierarchy, control)
        if control.kind == "curve":
            _drive_curve(unreal, graph, control, row)
    blueprint.recompile_vm()
    library.save_loaded_asset(blueprint)


def _add_control(unreal, hierarchy, control: FloatControl) -> None:  # type: ignore[no-untyped-def]
    settings = unreal.RigControlSettings()
    settings.set_editor_property("control_type", unreal.RigControlType.FLOAT)
    settings.set_editor_property("display_name", control.label)
    settings.set_editor_property("limit_enabled", [unreal.RigControlLimitEnabled(minimum=True, maximum=True)])
    settings.set_editor_property(
        "minimum_value", unreal.RigHierarchy.make_control_value_from_float(control.low)
    )
    settings.set_editor_property(
        "maximum_value", unreal.RigHierarchy.make_control_value_from_float(control.high)
    )
    value = unreal.RigHierarchy.make_control_value_from_float(control.default)
    hierarchy.add_control(control.name, unreal.RigElementKey(), settings, value)


def _drive_curve(unreal, graph, control: FloatControl, row: int) -> None:  # type: ignore[no-untyped-def]
    """Get Control Float -> Set Curve Value, one row of the forward solve for each shape."""
    at = unreal.Vector2D
    read, write = f"Read_{control.name}", f"Write_{control.name}"
    graph.add_unit_node_from_struct_path(RIG_GRAPH + "GetControlFloat", "Execute", at(-600, 140 * row), read)
    graph.add_unit_node_from_struct_path(RIG_GRAPH + "SetCurveValue", "Execute", at(0, 140 * row), write)
    graph.set_pin_default_value(f"{read}.Control", control.name)
    graph.set_pin_default_value(f"{write}.Curve", control.targets[0])
    graph.add_link(f"{read}.FloatValue", f"{write}.Value")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    build(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "/Game/Avatars")
