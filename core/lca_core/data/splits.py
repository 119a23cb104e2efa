"""Who may be trained on and who may not: identity ranges, held-out garments, four cells of evaluation.

In: a split or cell name and a number. Out: an :class:`~lca_core.data.people.Identity`, possibly in other
clothes. Identities are split by number, garments by the hold-out lists of ``people`` and ``wardrobe``; a cell
combines a seen or new identity with a seen or new garment, and the headline figure is new/new.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lca.errors import InvalidInputError
from lca_core.data import library
from lca_core.data.painting import HELD_OUT_PATTERNS
from lca_core.data.people import HELD_OUT, SPLITS, Identity, sample_identity, streams
from lca_core.data.procedural import SKIRTS
from lca_core.data.wardrobe import HELD_OUT_CUTS, HELD_OUT_SUITS, held_out_skirt, sample_cloth, sample_outfit

CELL_SIZE = 200
"""People per cell; seen identities are the last of the training range."""


@dataclass(frozen=True)
class Cell:
    """One cell of the evaluation table."""

    name: str
    new_identity: bool
    new_garment: bool


CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        Cell("seen-seen", False, False),
        Cell("seen-new", False, True),
        Cell("new-seen", True, False),
        Cell("new-new", True, True),
    )
}
"""Identity first, garment second; "new-new" is the headline."""


def check_split(split: str, number: int | None = None) -> None:
    """Raise InvalidInputError for an unknown split or a number outside its range."""
    if split not in SPLITS:
        raise InvalidInputError(f"There is no split {split!r}; use one of {', '.join(SPLITS)}.")
    low, high = SPLITS[split]
    if number is not None and not low <= number < high:
        raise InvalidInputError(f"Identity {number} is not in split {split} ({low} to {high - 1}).")


def has_new_garment(identity: Identity) -> bool:
    """True when something worn (a suit, a cut, a skirt's shape, shoes, a pattern) is held out of training."""
    outfit = identity.outfit
    cuts = [c for c in (outfit.top, outfit.bottom, outfit.under) if c is not None]
    return (
        outfit.suit in HELD_OUT_SUITS
        or identity.shoes in HELD_OUT["shoes"]
        or any(c.kind in HELD_OUT_CUTS for c in cuts)
        or any(c.kind in SKIRTS and held_out_skirt(c.flare, c.hem) for c in cuts)
        or any(c.pattern in HELD_OUT_PATTERNS for c in (identity.upper, identity.lower))
    )


def dressed_as(identity: Identity, split: str, wardrobe: str) -> Identity:
    """The same person in clothes drawn as for the split ``wardrobe``: new garments for "test", else none.

    Args:
        split: the split the identity belongs to; it fixes the random stream.
    """
    (rng,) = streams(split, identity.number, f"dress-{wardrobe}")
    shoes = [s for s in library.names("shoes") if (s in HELD_OUT["shoes"]) == (wardrobe == "test")]
    for _ in range(100):
        outfit = sample_outfit(rng, wardrobe, identity.female)
        upper = sample_cloth(rng, wardrobe, lower=False)
        skirt = outfit.bottom is not None and outfit.bottom.kind in SKIRTS
        dress = outfit.bottom is not None and outfit.bottom.kind == "dress"
        lower = upper if dress else sample_cloth(rng, wardrobe, lower=not skirt)
        out = replace(identity, outfit=outfit, upper=upper, lower=lower, shoes=str(rng.choice(shoes)))
        if has_new_garment(out) == (wardrobe == "test"):
            return out
    raise AssertionError("the wardrobe never gave what it promises")


def cell_identity(cell: str, index: int) -> Identity:
    """Person ``index`` (0 to ``CELL_SIZE`` - 1) of a cell.

    Raises:
        InvalidInputError: no such cell or person.
    """
    if cell not in CELLS:
        raise InvalidInputError(f"There is no cell {cell!r}; use one of {', '.join(CELLS)}.")
    if not 0 <= index < CELL_SIZE:
        raise InvalidInputError(f"A cell has {CELL_SIZE} people; {index} is none of them.")
    kind = CELLS[cell]
    split = "test" if kind.new_identity else "train"
    low, high = SPLITS[split]
    number = low + index if kind.new_identity else high - CELL_SIZE + index
    return dressed_as(sample_identity(split, number), split, "test" if kind.new_garment else "train")
