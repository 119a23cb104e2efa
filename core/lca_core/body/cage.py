"""A coarse cage for a fit: a few hundred nodes on the body carry smooth changes of many points.

What no photograph shows follows its neighbours, because a node moves all points around it. Nodes are
placed by farthest-point sampling; each point mixes its nearest ones.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree
from torch import Tensor

NEAREST = 6


class _Product(torch.autograd.Function):
    """Sparse matrix times dense values, differentiable in the values."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, matrix: sparse.csr_matrix, transposed: sparse.csr_matrix) -> Tensor:
        ctx.transposed = transposed
        return torch.from_numpy(matrix @ np.ascontiguousarray(values.detach().numpy()))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return torch.from_numpy(ctx.transposed @ np.ascontiguousarray(grads[0].numpy())), None, None


def mixing(nodes: NDArray[np.floating], points: NDArray[np.floating]) -> sparse.csr_matrix:
    """How points (N,3) mix the nodes (M,3) nearest to them: (N,M) float32, rows sum to 1."""
    near = min(NEAREST, len(nodes))
    distance, index = cKDTree(nodes).query(points, near)
    distance, index = distance.reshape(len(points), near), index.reshape(len(points), near)
    # The reach is the distance of the last node, whose share so fades to nothing: no jumps between cells.
    reach = np.maximum(distance[:, -1:], 1e-6)
    weights = np.square(1 - np.minimum(distance / reach, 1)) + 1e-6
    weights /= weights.sum(1, keepdims=True)
    rows = np.repeat(np.arange(len(points)), near)
    shape = (len(points), len(nodes))
    return sparse.csr_matrix((weights.ravel().astype(np.float32), (rows, index.ravel())), shape)


class Cage:
    """Nodes of N points.

    Args:
        points: (N,3). nodes: (M,) indices of the points that are nodes.

    Attributes:
        nodes: (M,) indices of the points that are nodes. matrix: (N,M) sparse float32, rows sum to 1.
    """

    def __init__(self, points: NDArray[np.floating], nodes: NDArray[np.int64]) -> None:
        self.nodes = nodes
        self.matrix = mixing(points[nodes], points)
        self._transposed = self.matrix.T.tocsr()
        # Springs between nodes that share points: neighbours should change alike.
        links = (self._transposed @ self.matrix).tocoo()
        upper = links.row < links.col
        strength = (
            links.data[upper] / max(float(links.data[upper].mean()), 1e-9) if upper.any() else links.data[:0]
        )
        self.springs = torch.from_numpy(np.stack([links.row[upper], links.col[upper]]).astype(np.int64))
        self.strength = torch.from_numpy(np.minimum(strength, 4.0).astype(np.float32))

    def __call__(self, values: Tensor) -> Tensor:
        """Node values (M,C) -> values of the points (N,C)."""
        product: Tensor = _Product.apply(values, self.matrix, self._transposed)
        return product

    def of(self, index: NDArray[np.int64]) -> Cage:
        """The same nodes for some of the points."""
        out = copy.copy(self)
        out.matrix = self.matrix[index]
        out._transposed = out.matrix.T.tocsr()
        return out

    def roughness(self, values: Tensor) -> Tensor:
        """Mean squared difference of linked nodes, summed over channels."""
        if not self.springs.shape[1]:
            return values.sum() * 0
        gap = (values[self.springs[0]] - values[self.springs[1]]).square().sum(1)
        return (self.strength * gap).mean()


def one_per_cell(points: NDArray[np.floating], size: float) -> NDArray[np.int64]:
    """The first point in every cube of ``size`` metres that holds any: indices, in order."""
    cell = np.floor(np.asarray(points) / size).astype(np.int64)
    return np.sort(np.unique(cell, axis=0, return_index=True)[1])


def surface_laplacian(
    position: NDArray[np.floating], normal: NDArray[np.floating], neighbours: int, longest: float
) -> sparse.csr_matrix:
    """Graph Laplacian [P,P] of points [P,3] on one surface, edges with weight 1.

    Edges go to the nearest ``neighbours`` within ``longest`` m that face the same way (``normal`` [P,3]);
    the other leg does not.
    """
    count = len(position)
    distance, near = cKDTree(position).query(position, min(neighbours + 1, count))
    rows, cols = np.repeat(np.arange(count), near.shape[1] - 1), near[:, 1:].ravel()
    keep = (np.einsum("ec,ec->e", normal[rows], normal[cols]) > 0) & (distance[:, 1:].ravel() < longest)
    edges = sparse.coo_matrix((np.ones(int(keep.sum())), (rows[keep], cols[keep])), (count, count)).tocsr()
    edges = edges.maximum(edges.T)
    return sparse.csr_matrix(sparse.diags(np.asarray(edges.sum(1)).ravel()) - edges)
