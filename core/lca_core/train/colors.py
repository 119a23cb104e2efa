"""Learns how people's colours vary together: ``python -m lca_core.train.colors --out FILE``.

In: the generator's people of the training split, their UV colour baked under each person's own light. Out:
``colors.safetensors`` with a card, what :mod:`lca_core.model.fill` reads: mean, principal ways and the
variance beside them on the UV grid, of the people and their mirror images. Ten minutes of one core and 2 GB
for the default.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor

from lca_core.data import uv_bake
from lca_core.data.lights import sample_light
from lca_core.data.people import SPLITS, Person, sample_identity, streams
from lca_core.model.template import Template

GRID = 128
PEOPLE = 1200
WAYS = 96
LEAST_NOISE = 1e-3


def person_colors(number: int, template: Template) -> NDArray[np.uint8]:
    """Lit colours [T,3] of one person of the training split at the texels of ``template``."""
    person = Person(sample_identity("train", number))
    (light,) = streams("train", number, "light")
    truth = uv_bake.bake(person, uv_bake.layered_scene(person), sample_light(light), template.size)
    return truth.color[template.rows, template.cols]


def mirrored(template: Template) -> NDArray[np.int64]:
    """The texel [T] nearest to the mirror image of each."""
    points = template._rest(torch.zeros(50))[0].numpy()
    return np.asarray(cKDTree(points).query(points * np.array([-1, 1, 1], np.float32))[1], np.int64)


def learn(colors: NDArray[np.floating], mirror: NDArray[np.integer], ways: int = WAYS) -> dict[str, Tensor]:
    """mean [T,3], ways [T,R] of unit variance, noise [T,1] from colours [P,T,3] 0-1."""
    both = torch.from_numpy(np.concatenate([colors, colors[:, mirror]]).astype(np.float32))
    mean = both.mean(0)
    rows = (both - mean).permute(0, 2, 1).reshape(-1, len(mean))
    del both
    small = min(rows.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, value, axes = torch.svd_lowrank(rows, q=min(ways + 32, small), niter=4)
    ways = min(ways, int((value > 1e-4 * value[0]).sum()))
    scaled = axes[:, :ways] * value[:ways] / len(rows) ** 0.5
    noise = (rows.square().mean(0) - scaled.square().sum(1)).clamp(min=LEAST_NOISE)
    return {"mean": mean, "ways": scaled, "noise": noise[:, None]}


def as_maps(learned: dict[str, Tensor], template: Template) -> dict[str, Tensor]:
    """[T,C] -> [C,U,U] in half precision, continued beyond the charts so that other grids may interpolate."""
    nearest = ndimage.distance_transform_edt(~template.carries, return_distances=False, return_indices=True)
    rows, cols = torch.from_numpy(nearest.astype(np.int64))
    return {k: template.scatter(v[None])[0][:, rows, cols].half().contiguous() for k, v in learned.items()}


CARD = """# colors: how people's colours vary together

What: mean colour of each texel on a {size} x {size} grid, {ways} principal ways in which colours vary over
the body (the same for the three channels) and the variance beside them: the ways explain {explained:.1%}.
`lca_core.model.fill` guesses from it the colours that no picture shows.

Data: the first {people} synthetic people of the training split and their mirror images, UV colours baked
under each person's own light (CC0 assets, see NOTICE). No photographs of anyone.

Command: `python -m lca_core.train.colors --people {people} --out {out}`

Held-out numbers: column "fill" of `lca-xs.md`, which is this guess without the network.

Limits: cuts that the generator does not have (coats, hoods, hats) are guessed as the nearest it has; a
pattern that goes round the body becomes its mean colour behind.

Licence: Apache-2.0.
"""


def write(colors: NDArray[np.floating], template: Template, out: Path) -> None:
    """Learn from colours [P,T,3] 0-1 at the texels of ``template``; write ``out`` and its card."""
    learned = learn(colors, mirrored(template))
    save_file(as_maps(learned, template), out, {"people": str(len(colors))})
    described = float(learned["ways"].square().sum())
    card = CARD.format(
        size=template.size,
        ways=learned["ways"].shape[1],
        explained=described / (described + float(learned["noise"].sum())),
        people=len(colors),
        out=out.name,
    )
    out.with_suffix(".md").write_text(card, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--people", type=int, default=PEOPLE, help="people of the training split (%(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    template, (low, high) = Template.load(GRID), SPLITS["train"]
    numbers = range(low, min(high, low + args.people))
    write(np.stack([person_colors(n, template) for n in numbers]) / np.float32(255), template, args.out)


if __name__ == "__main__":
    main()
