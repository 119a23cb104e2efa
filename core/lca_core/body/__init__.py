"""SMPL-X-format body: names, template, linear blend skinning, UV atlas and rig description."""
