"""Learns how people's colours vary together: ``python -m lca_core.train.colors --data DIR --out FILE``.

In: training people with baked UV colour (lit, as photographs are). Out: ``colors.safetensors`` with a card,
what :mod:`lca_core.model.fill` reads: mean, principal ways and the variance beside them on the UV grid, of
the people and their mirror images. A minute and 1 GB for a thousand people.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor

from lca_core.model.template import Template
from lca_core.train.examples import uv_targets
from lca_core.train.sources import open_people

GRID = 128
WAYS = 96
LEAST_NOISE = 1e-3


def person_colors(people: Any, template: Template) -> NDArray[np.float32]:
    """Lit colours [P,T,3] of all people at the texels of ``template``."""
    rows = [
        template.gather(uv_targets(people[i], template)["color"][None])[0].numpy() for i in range(len(people))
    ]
    return np.stack(rows).astype(np.float32)


def mirrored(template: Template) -> NDArray[np.int64]:
    """The texel [T] nearest to the mirror image of each."""
    points = template._rest(torch.zeros(50))[0].numpy()
    return np.asarray(cKDTree(points).query(points * np.array([-1, 1, 1], np.float32))[1], np.int64)


def learn(colors: NDArray[np.floating], mirror: NDArray[np.integer], ways: int = WAYS) -> dict[str, Tensor]:
    """mean [T,3], ways [T,R] of unit variance, noise [T] from colours [P,T,3]."""
    both = torch.from_numpy(np.concatenate([colors, colors[:, mirror]]).astype(np.float32))
    mean = both.mean(0)
    rows = (both - mean).permute(0, 2, 1).reshape(-1, len(mean))
    del both
    # As many rows as columns at a thousand people: the smaller of both Gram matrices.
    small = len(rows) < rows.shape[1]
    value, vector = torch.linalg.eigh((rows @ rows.T if small else rows.T @ rows).double())
    ways = min(ways, int((value > 1e-7 * value[-1]).sum()))
    value, vector = value[-ways:].flip(0), vector[:, -ways:].flip(1)
    axes = (rows.T.double() @ vector) / value.sqrt() if small else vector
    scaled = (axes * (value / len(rows)).sqrt()).float()
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

Data: {people} synthetic people of the training split and their mirror images, baked UV colours under each
person's own light (CC0 assets, see NOTICE). No photographs of anyone.

Command: `python -m lca_core.train.colors {data} --out {out}`

Held-out numbers: column "spatial fill" of `lca-xs.md`, which is this guess without the network.

Limits: cuts that the generator does not have (coats, hoods, hats) are guessed as the nearest it has; a
pattern that goes round the body becomes its mean colour behind.

Licence: Apache-2.0.
"""


def train(data: Sequence[str], out: Path, template: Template | None = None) -> int:
    """Learn from the folders ``data``, write ``out`` and its card; returns the number of people."""
    template = template or Template.load(GRID)
    colors = np.concatenate([person_colors(open_people([d], "train", 0), template) for d in data])
    learned = learn(colors, mirrored(template))
    save_file(as_maps(learned, template), out, {"people": str(len(colors))})
    described = float(learned["ways"].square().sum())
    card = CARD.format(
        size=template.size,
        ways=learned["ways"].shape[1],
        explained=described / (described + float(learned["noise"].sum())),
        people=len(colors),
        data=" ".join(f"--data {Path(d).name}" for d in data),
        out=out.name,
    )
    out.with_suffix(".md").write_text(card, encoding="utf-8")
    return len(colors)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", action="append", required=True, metavar="DIR", help="folder; repeat")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"{train(args.data, args.out)} people -> {args.out.name}")


if __name__ == "__main__":
    main()
