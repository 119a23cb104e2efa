# SPDX-License-Identifier: GPL-3.0-or-later
"""The avatar library: a folder of .blend files, one avatar each, that Blender's asset browser shows.

An imported avatar's collection becomes an asset with its portrait as preview, filed in a catalog, and is
written into the folder together with everything it needs; dragging it into a scene gives the whole rig.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from pathlib import Path

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.deps import errors, package
from . import importer, pose_assets

CATALOG = "LCA/Avatars"
LIBRARY = "LCA Avatars"
_PREVIEW_SIDE = 256


def add(rig: bpy.types.Object, folder: Path) -> Path:
    """Write an avatar into the library ``folder``; returns its .blend file. An avatar of the same name is
    replaced, the catalog file is made or extended, and the open file stays as it is.

    Raises:
        LcaError: the folder cannot be written.
    """
    collection = collection_of(rig)
    target = folder / f"{bpy.path.clean_name(rig.name)}.blend"
    marked = collection.asset_data is not None
    collection.asset_mark()
    about = collection.asset_data
    about.catalog_id = pose_assets.catalog_id(CATALOG)
    about.author = pose_assets.AUTHOR
    about.description = f"{rig.get('lca_gaussians', 0):,} splats, {rig.get('lca_height_m', 0.0):.2f} m"
    if pose_assets.TAG not in about.tags:
        about.tags.new(pose_assets.TAG)
    try:
        _paint(collection, portrait(rig))
        folder.mkdir(parents=True, exist_ok=True)
        _write(collection, target)
        pose_assets.write_catalogs(folder, (CATALOG,))
    except (OSError, RuntimeError) as error:
        raise errors.PreconditionError(
            f"The avatar cannot be kept in {folder}: {error}. Choose another folder in the preferences.",
            reason="LIBRARY_NOT_WRITABLE",
        ) from error
    finally:
        if not marked:
            collection.asset_clear()
    return target


def register_folder(folder: Path) -> None:
    """Make the asset browser know the folder, once."""
    known = bpy.context.preferences.filepaths.asset_libraries
    if not any(entry.path and Path(entry.path) == folder for entry in known):
        known.new(name=LIBRARY, directory=str(folder))


def collection_of(rig: bpy.types.Object) -> bpy.types.Collection:
    """The collection that an import made for this avatar.

    Raises:
        PreconditionError: its objects were moved apart.
    """
    for collection in rig.users_collection:
        if all(child.name in collection.objects for child in rig.children):
            return collection
    raise errors.PreconditionError(
        f"The parts of {rig.name} lie in different collections. Move them into one.",
        reason="AVATAR_SCATTERED",
    )


def unique_id(rig: bpy.types.Object) -> str:
    """The avatar's id; a copy that came from the library or by duplicating gets one of its own first."""
    mine = str(rig[importer.AVATAR_ID])
    if sum(obj.get(importer.AVATAR_ID) == mine for obj in bpy.data.objects) > 1:
        rig[importer.AVATAR_ID] = mine = uuid.uuid4().hex
    return mine


def portrait(rig: bpy.types.Object) -> NDArray[np.float32]:
    """(256, 256, 4) display values, rows from the bottom up: the picture in the avatar file, or a plain tile
    when the file is gone or holds none."""
    data = None
    with contextlib.suppress(errors.LcaError, OSError):
        data = package.read_package(str(rig.get(importer.PACKAGE, ""))).thumbnail
    if data is None:
        return np.tile(np.array([0.3, 0.3, 0.32, 1.0], np.float32), (_PREVIEW_SIDE, _PREVIEW_SIDE, 1))
    handle, name = tempfile.mkstemp(suffix=".png", dir=bpy.app.tempdir)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        image = bpy.data.images.load(name)
        try:
            image.scale(_PREVIEW_SIDE, _PREVIEW_SIDE)
            flat = np.empty(_PREVIEW_SIDE * _PREVIEW_SIDE * 4, np.float32)
            image.pixels.foreach_get(flat)
        finally:
            bpy.data.images.remove(image)
    finally:
        os.unlink(name)
    return flat.reshape(_PREVIEW_SIDE, _PREVIEW_SIDE, 4)


def _paint(collection: bpy.types.Collection, pixels: NDArray[np.float32]) -> None:
    preview = collection.preview_ensure()
    preview.image_size = (pixels.shape[1], pixels.shape[0])
    preview.image_pixels_float.foreach_set(pixels.reshape(-1))


def _write(collection: bpy.types.Collection, target: Path) -> None:
    """Beside the target first: a full disk leaves the library as it was."""
    part = target.with_name(f"{target.stem}.part.blend")
    try:
        bpy.data.libraries.write(str(part), {collection}, fake_user=True, compress=True)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
