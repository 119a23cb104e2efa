"""Command line of the generator: writes one ``.npz`` per synthetic person.

``python -m lca_core.data.generate --out DIR --count N --seed S --size 256 --views 4 [--split train]``
Files appear under their final name only when complete; existing ones are kept, so a run can be continued.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from lca.errors import LcaError
from lca_core.data.people import SPLITS
from lca_core.data.samples import iter_samples, timed


def generate(
    out: Path, split: str, count: int, seed: int = 0, *, size: int = 256, views: int = 4, uv_size: int = 128
) -> list[Path]:
    """Write ``count`` people of ``split`` from identity offset ``seed`` on; returns the paths of new
    files."""
    out.mkdir(parents=True, exist_ok=True)
    low = SPLITS[split][0] if split in SPLITS else 0
    missing = [i for i in range(count) if not (out / f"person_{low + seed + i:06d}.npz").is_file()]
    written = []
    for i in missing:
        samples = iter_samples(split, seed + i, 1, size=size, views=views, uv_size=uv_size)
        for number, sample, seconds in timed(samples):
            path = out / f"person_{number:06d}.npz"
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                np.savez_compressed(file, **sample)
            os.replace(part, path)
            written.append(path)
            print(f"{path.name} {len(written)}/{len(missing)} {seconds:.2f} s", flush=True)
    return written


def main() -> int:
    """Parse, generate, report; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write synthetic dressed people as training samples.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the .npz files")
    parser.add_argument("--count", type=int, default=16, help="people to write")
    parser.add_argument("--seed", type=int, default=0, help="offset of the first identity in the split")
    parser.add_argument("--split", choices=sorted(SPLITS), default="train")
    parser.add_argument("--size", type=int, default=256, help="image side in pixels")
    parser.add_argument("--views", type=int, default=4, help="views (poses) per person")
    parser.add_argument("--uv-size", type=int, default=128, help="side of the UV maps")
    args = parser.parse_args()
    try:
        generate(
            args.out,
            args.split,
            args.count,
            args.seed,
            size=args.size,
            views=args.views,
            uv_size=args.uv_size,
        )
    except LcaError as error:
        print(error.message, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
