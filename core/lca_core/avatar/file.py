"""Reading and writing the `.lca` file (docs/avatar-file.md): a zip of stored entries with a sha256 for each.

Arrays are safetensors, so that nothing foreign is ever unpickled. Writing goes to a temporary sibling that
is renamed when it is complete.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as dump_tensors

from lca.errors import DataLossError, InvalidInputError, NotFoundError
from lca_core.avatar.avatar import (
    SCHEMA,
    Avatar,
    Canonical,
    Correctives,
    Proxy,
    Relight,
    Skinning,
    WeightsInfo,
)
from lca_core.body.rig import RigDescription

MAX_ENTRY_BYTES = 512 * 1024 * 1024
Group = TypeVar("Group")


def save_avatar(avatar: Avatar, path: Path) -> None:
    """Write ``avatar`` to ``path`` atomically; an existing file is replaced only by a complete new one."""
    entries: dict[str, bytes] = {
        "rig.json": avatar.rig.to_json().encode(),
        "canonical.safetensors": dump_tensors(
            _arrays(avatar.canonical, skip=("uv_size",)),
            metadata={"uv_size": str(avatar.canonical.uv_size)},
        ),
        "skinning.safetensors": dump_tensors(_arrays(avatar.skinning)),
        "correctives.safetensors": dump_tensors(_arrays(avatar.correctives)),
        "network.safetensors": dump_tensors({k: np.ascontiguousarray(v) for k, v in avatar.network.items()}),
        "relight.safetensors": dump_tensors(_arrays(avatar.relight)),
        "proxy.safetensors": dump_tensors(_arrays(avatar.proxy, skip=("texture",))),
        "proxy.png": _png(avatar.proxy.texture),
        "thumbnail.png": _png(avatar.thumbnail),
    }
    header = {
        "schema": SCHEMA,
        "name": avatar.name,
        "created": avatar.created,
        "generator": avatar.generator,
        "weights": {
            "config": avatar.weights.config,
            "sha256": avatar.weights.sha256,
            "licence": avatar.weights.licence,
        },
        "inputs_licence": avatar.inputs_licence,
        "height_m": round(float(avatar.height_m), 4),
        "gaussian_count": avatar.gaussian_count,
        "betas": [round(float(beta), 6) for beta in avatar.betas],
        "provenance": avatar.provenance,
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in entries.items()
        },
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
                # A fixed date keeps the bytes a function of the content.
                for name, data in {"avatar.json": json.dumps(header, indent=1).encode(), **entries}.items():
                    archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_avatar(path: Path) -> Avatar:
    """Read and verify a `.lca` file.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: not an avatar file, or a newer major version.
        DataLossError: an entry is missing or its bytes do not match its sha256.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"There is no avatar file at {path}.")
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(_entry(archive, "avatar.json"))
            _check_schema(header, path)
            entries = {name: _verified(archive, name, info) for name, info in header["files"].items()}
    except (zipfile.BadZipFile, json.JSONDecodeError, UnicodeDecodeError, KeyError, EOFError) as error:
        raise InvalidInputError(f"{path.name} is not a valid .lca avatar file ({error}).") from error
    try:
        return _build(header, entries)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InvalidInputError(f"{path.name} has incomplete or malformed data ({error}).") from error


def _build(header: dict[str, Any], entries: dict[str, bytes]) -> Avatar:
    def group(kind: type[Group], entry: str, **extra: Any) -> Group:
        tensors = load_tensors(entries[entry])
        names = [field.name for field in fields(kind) if field.name not in extra]  # type: ignore[arg-type]
        return kind(**{name: tensors[name] for name in names}, **extra)

    uv_size = int(_metadata(entries["canonical.safetensors"])["uv_size"])
    return Avatar(
        name=header["name"],
        created=header["created"],
        generator=header["generator"],
        weights=WeightsInfo(**{k: header["weights"][k] for k in ("config", "sha256", "licence")}),
        inputs_licence=header["inputs_licence"],
        height_m=header["height_m"],
        betas=np.asarray(header["betas"], np.float32),
        rig=RigDescription.from_json(entries["rig.json"].decode()),
        canonical=group(Canonical, "canonical.safetensors", uv_size=uv_size),
        skinning=group(Skinning, "skinning.safetensors"),
        correctives=group(Correctives, "correctives.safetensors"),
        network=load_tensors(entries["network.safetensors"]),
        relight=group(Relight, "relight.safetensors"),
        proxy=group(Proxy, "proxy.safetensors", texture=_pixels(entries["proxy.png"])),
        thumbnail=_pixels(entries["thumbnail.png"]),
        provenance=header.get("provenance", {}),
    )


def _check_schema(header: dict[str, Any], path: Path) -> None:
    family, _, major = str(header.get("schema", "")).partition("/")
    if family != "lca.avatar":
        raise InvalidInputError(f"{path.name} is not an avatar file (schema {header.get('schema')!r}).")
    if major.split(".")[0] != SCHEMA.partition("/")[2]:
        raise InvalidInputError(
            f"{path.name} uses schema {header['schema']}; this version reads {SCHEMA}. Update LCA Bridge."
        )


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MAX_ENTRY_BYTES:
        raise InvalidInputError(f"Entry {name} is larger than {MAX_ENTRY_BYTES >> 20} MiB.")
    return archive.read(name)


def _verified(archive: zipfile.ZipFile, name: str, info: dict[str, Any]) -> bytes:
    try:
        data = _entry(archive, name)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataLossError(f"Entry {name} is missing or damaged; fetch the avatar again.") from error
    if hashlib.sha256(data).hexdigest() != info["sha256"]:
        raise DataLossError(f"Entry {name} does not match its checksum; fetch the avatar again.")
    return data


def _arrays(group: Any, skip: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    return {
        field.name: np.ascontiguousarray(getattr(group, field.name))
        for field in fields(group)
        if field.name not in skip
    }


def _metadata(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:8], "little")
    return dict(json.loads(data[8 : 8 + size]).get("__metadata__", {}))


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def _pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))
