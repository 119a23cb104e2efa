"""The light client of an LCA service: grpcio, protobuf and numpy (zstandard optional). No torch.

``connect(target, token)`` gives an :class:`LcaClient`; errors are the classes of :mod:`lca.errors`.
"""

from lca_bridge.client.animate import AnimatedFrame, AnimateStream
from lca_bridge.client.channel import read_token
from lca_bridge.client.client import LcaClient, connect
from lca_bridge.client.live import LiveDriver

__all__ = ["AnimateStream", "AnimatedFrame", "LcaClient", "LiveDriver", "connect", "read_token"]
