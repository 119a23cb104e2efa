"""More Gaussians where the photographs show detail: prints, seams, hems, faces; plain cloth keeps few.

The body's plan of samples and one person's references go in; a plan of their own comes out. Both plans are
quadtrees over the same atlas (``density``), one twice as fine: cells of the coarse one whose fine colours
differ from their surroundings are replaced by their children, the strongest first, until the budget is spent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lca_core.model.density import FINEST, Samples, plan
from lca_core.model.dressing import dress
from lca_core.model.inverse_texture import sample_points
from lca_core.model.references import References
from lca_core.model.register import Registration
from lca_core.model.skirt import Skirt
from lca_core.model.surface import array
from lca_core.model.template import Template

CONTRAST = 0.02
"""Standard deviation of sRGB among neighbouring cells below which there is nothing to draw."""
TRUSTED = 0.2


def detailed(
    template: Template,
    refs: References,
    offset: NDArray[np.floating],
    texture_size: int,
    budget: int,
    agreed: Registration | None = None,
    skirt: Skirt | None = None,
) -> Samples:
    """The samples of one person: ``plan(template, texture_size)`` and at most ``budget`` more.

    Args:
        refs: B = 1 with the original frames. offset: [3,U,U] clothing offset in metres, tangent frame, as the
            network gives it.
        budget: 0 returns the plan itself. agreed: the registration of the views. skirt: the loose garment,
            whose samples stand further apart than those of the body.
    """
    base = plan(template, texture_size)
    if budget < 3 or texture_size >= 1024:
        return base
    fine = plan(template, 2 * texture_size)
    parent = parents(base, fine)
    u = offset.shape[-1]
    moved = offset[:, fine.rows * u // FINEST, fine.cols * u // FINEST].T.astype(np.float32)
    moved, places, spacing = np.ascontiguousarray(moved), fine, base.typical_spacing().copy()
    if skirt is not None:
        worn = dress(fine, refs, skirt, moved)
        places = worn.samples
        over = parent[worn.points.where]
        np.maximum.at(spacing, over[over >= 0], (worn.points.wider * spacing[over])[over >= 0])
    seen = sample_points(places, refs, 0, moved, depth_size=384, by_part=True, agreed=agreed)
    contrast = local_contrast(fine, array(seen.color), array(seen.hit) > TRUSTED, 2 * texture_size)
    # A blurred edge disturbs in proportion to how wide the blur is.
    value = np.zeros(base.count)
    np.maximum.at(value, parent[parent >= 0], contrast[parent >= 0])
    value = np.where(value > CONTRAST, value * spacing, 0)
    children = np.bincount(parent[parent >= 0], minlength=base.count)
    value[children < 2] = 0
    order = np.argsort(-value, kind="stable")
    cost = np.cumsum(children[order] - 1)
    chosen = order[(cost <= budget) & (value[order] > 0)]
    split = np.zeros(base.count + 1, bool)
    split[chosen] = True
    keep, add = ~split[:-1], split[parent]
    rows, cols, step = (
        np.concatenate([getattr(base, name)[keep], getattr(fine, name)[add]])
        for name in ("rows", "cols", "step")
    )
    sort = np.lexsort((cols, rows))
    return Samples(template, rows[sort], cols[sort], FINEST, step[sort])


def parents(base: Samples, fine: Samples) -> NDArray[np.int64]:
    """The cell of ``base`` that holds each larger or equal cell of ``fine`` [T]; -1 without one."""
    out = np.full(fine.count, -1, np.int64)
    for step in np.unique(base.step):
        cells = np.nonzero(base.step == step)[0]
        key = base.rows[cells] // step * FINEST + base.cols[cells] // step
        order = np.argsort(key)
        wanted = fine.rows // step * FINEST + fine.cols // step
        at = np.minimum(np.searchsorted(key[order], wanted), len(key) - 1)
        inside = (key[order][at] == wanted) & (fine.step <= step)
        out[inside] = cells[order[at[inside]]]
    return out


def local_contrast(
    points: Samples, color: NDArray[np.floating], seen: NDArray[np.bool_], size: int
) -> NDArray[np.float64]:
    """Deviation [T] of sRGB color [T,3] among the ``seen`` [T] cells around, on a grid of ``size``."""
    row, col = points.rows * size // FINEST, points.cols * size // FINEST
    known = np.zeros((size, size))
    np.add.at(known, (row[seen], col[seen]), 1.0)
    weight = (known > 0).astype(np.float64)
    count = ndimage.uniform_filter(weight, 3)
    total = np.zeros((size, size))
    for channel in color.T.astype(np.float64):
        image = np.zeros((size, size))
        np.add.at(image, (row[seen], col[seen]), channel[seen])
        image /= np.maximum(known, 1)
        mean = ndimage.uniform_filter(image * weight, 3) / np.maximum(count, 1e-6)
        square = ndimage.uniform_filter(image**2 * weight, 3) / np.maximum(count, 1e-6)
        total += np.maximum(square - mean**2, 0)
    spread = np.sqrt(total / 3)[row, col]
    return np.where(seen, spread, 0.0)
