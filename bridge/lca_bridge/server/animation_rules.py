"""What every request that moves an avatar has in common: which avatar, which revision, which correction."""

from __future__ import annotations

import asyncio

from lca.errors import InvalidInputError, UnimplementedError
from lca.v1 import animation_service_pb2 as pb
from lca_bridge.server import names
from lca_bridge.server.core import ServiceCore
from lca_bridge.server.evaluate import Evaluator
from lca_bridge.server.store import AvatarRow


async def find_avatar(core: ServiceCore, name: str, revision: str) -> AvatarRow:
    """The avatar of a request; PreconditionError ``REVISION_CHANGED`` if another one is pinned."""
    row = await asyncio.to_thread(core.store.avatar, names.parse_name(name, "avatars"))
    await asyncio.to_thread(core.package_path, row, revision)
    return row


def correction_of(evaluator: Evaluator, mode: int) -> pb.CorrectionMode:
    """Baked unless live is asked for and the network of this avatar is here; may load it."""
    if mode not in pb.CorrectionMode.values():
        raise InvalidInputError("Unknown correction mode.", reason="BAD_START")
    if mode != pb.CORRECTION_MODE_LIVE:
        return pb.CORRECTION_MODE_BAKED
    if not evaluator.load_live():
        raise UnimplementedError(
            "This service has no correction network for this avatar; ask for baked.",
            reason="LIVE_UNAVAILABLE",
        )
    return pb.CORRECTION_MODE_LIVE


async def granted_correction(core: ServiceCore, evaluator: Evaluator, mode: int) -> pb.CorrectionMode:
    """:func:`correction_of`, on an evaluation thread if something must be loaded."""
    if mode != pb.CORRECTION_MODE_LIVE:
        return correction_of(evaluator, mode)
    return await core.evaluators.run(correction_of, evaluator, mode)


def is_live(mode: pb.CorrectionMode) -> bool:
    """Whether a granted mode is the network."""
    return mode == pb.CORRECTION_MODE_LIVE
