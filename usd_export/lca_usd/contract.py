"""The deformation contract: what a reader has to do so that our splats follow the skeleton, stated in the
file itself.

UsdSkel defines skinning of positions only. `LcaSplatDeformAPI`, a codeless applied schema, names the rest;
the same values stand in customData for readers without the plug-in. Formulas: docs/avatar-file.md, "The baked
rig".
"""

from __future__ import annotations

from pathlib import Path

from pxr import Plug, Sdf, Usd

SCHEMA = "LcaSplatDeformAPI"
VERSION = 1
VERSION_KEY = "lca:deform:version"
SCHEMA_FOLDER = Path(__file__).parent / "schema"

TEXT = (
    "1. Shapes and correctives act in bind space: positions add offsets, quaternions add "
    "lca:orientationOffsets and are renormalised, log scales add lca:scaleOffsets, SH band 0 adds "
    "lca:dcOffsets (absent arrays are zero). 2. Positions then follow UsdSkel linear blend skinning, "
    "identity geomBindTransform, 4 influences, heaviest first. 3. orientationMode blendedRotation: q' = "
    "normalise(sum_j w_j s_j q_j) q with q_j the rotation of joint j's skinning matrix and s_j its sign "
    "towards the heaviest joint; scales unchanged. 4. shRotation rotate: bands above 0 turn by the same "
    "rotation. 5. Opacity is not deformed."
)


def apply_contract(prim: Usd.Prim, degree: int) -> None:
    """Author the contract on a splat prim of SH degree ``degree``."""
    prim.AddAppliedSchema(SCHEMA)
    values = {
        "lca:orientationMode": "blendedRotation",
        "lca:shRotation": "rotate" if degree > 0 else "none",
    }
    for name, token in values.items():
        prim.CreateAttribute(
            name, Sdf.ValueTypeNames.Token, custom=False, variability=Sdf.VariabilityUniform
        ).Set(token)
        prim.SetCustomDataByKey(name, token)
    prim.SetCustomDataByKey(VERSION_KEY, VERSION)
    prim.SetCustomDataByKey("lca:deform:contract", TEXT)


def register_schema() -> bool:
    """Teach this process's USD the codeless schema, so that its fallbacks appear. True when it is known
    afterwards.

    Other tools: put the `schema` folder of this package on ``PXR_PLUGINPATH_NAME`` before starting them.
    """
    Plug.Registry().RegisterPlugins(str(SCHEMA_FOLDER))
    return bool(Usd.SchemaRegistry().FindAppliedAPIPrimDefinition(SCHEMA))
