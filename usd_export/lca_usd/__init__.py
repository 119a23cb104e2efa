"""USD export: an avatar package (`.lca`) becomes a skinned splat asset that standard tools open.

Reads packages through `lca_bridge.wire`; needs usd-core and numpy, never torch. `lca_usd.validate` checks USD
files.
"""

from lca_usd.baked import export_baked
from lca_usd.export import PRESETS, ExportReport, UsdInvalidError, export_shot, export_usd
from lca_usd.glb import export_glb
from lca_usd.motion import frame_of
from lca_usd.ply import export_ply

__all__ = [
    "PRESETS",
    "ExportReport",
    "UsdInvalidError",
    "export_baked",
    "export_glb",
    "export_ply",
    "export_shot",
    "export_usd",
    "frame_of",
]
