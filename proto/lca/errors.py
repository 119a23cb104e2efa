"""The one exception hierarchy of LCA Bridge, shared by the core, the service and every client.

It sits beside the protocol because a ``reason`` is part of the public contract: the service sends it as
``google.rpc.ErrorInfo.reason``, the command line maps its ``category`` to an exit code, Blender shows its
text. Only the standard library is imported, so an artist's machine pays nothing for it.
"""

from __future__ import annotations

from enum import Enum


class Category(Enum):
    """What kind of trouble an error is. The value is the canonical gRPC status name."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"
    CANCELLED = "CANCELLED"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"


class LcaError(Exception):
    """Base of every error this product raises on purpose.

    Args:
        message: one sentence that names the cause and the cure. Never contains secrets or internal paths.
        reason: UPPER_SNAKE_CASE, at most 63 characters; what programs branch on.
        metadata: machine-readable extras (strings only), for example ``{"committed_size": "1048576"}``.
    """

    category: Category = Category.INTERNAL
    default_reason: str = "INTERNAL"

    def __init__(
        self, message: str, *, reason: str | None = None, metadata: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})


class InvalidInputError(LcaError):
    """The input can never work as it is (broken file, wrong shape, bad name)."""

    category = Category.INVALID_ARGUMENT
    default_reason = "INVALID_ARGUMENT"


class MediaUnreadableError(InvalidInputError):
    """A clip or image that cannot be decoded: empty, truncated, not a video, no frames."""

    default_reason = "MEDIA_UNREADABLE"


class PreconditionError(LcaError):
    """The input is well formed but the state does not allow the operation."""

    category = Category.FAILED_PRECONDITION
    default_reason = "FAILED_PRECONDITION"


class NoPersonFoundError(PreconditionError):
    """No (or not enough of a) person is visible in the clip."""

    default_reason = "NO_PERSON_FOUND"


class NotFoundError(LcaError):
    """A resource is missing, or belongs to someone else."""

    category = Category.NOT_FOUND
    default_reason = "RESOURCE_NOT_FOUND"


class AlreadyExistsError(LcaError):
    """A resource or request id is taken."""

    category = Category.ALREADY_EXISTS
    default_reason = "ALREADY_EXISTS"


class ExhaustedError(LcaError):
    """A quota, queue or disk limit is reached."""

    category = Category.RESOURCE_EXHAUSTED
    default_reason = "QUOTA_EXCEEDED"


class UnauthenticatedError(LcaError):
    """The caller has no valid token."""

    category = Category.UNAUTHENTICATED
    default_reason = "TOKEN_INVALID"


class UnavailableError(LcaError):
    """The service or a worker is not reachable right now; trying again may help."""

    category = Category.UNAVAILABLE
    default_reason = "UNAVAILABLE"


class CancelledError(LcaError):
    """The caller asked for cancellation."""

    category = Category.CANCELLED
    default_reason = "CANCELLED"


class DataLossError(LcaError):
    """Stored or transmitted bytes do not match their checksum."""

    category = Category.DATA_LOSS
    default_reason = "CHECKSUM_MISMATCH"


class OutOfRangeError(LcaError):
    """An offset does not continue what is stored."""

    category = Category.OUT_OF_RANGE
    default_reason = "OFFSET_MISMATCH"


class AbortedError(LcaError):
    """Someone else changed the resource in between: read it again and redo the change."""

    category = Category.ABORTED
    default_reason = "ETAG_MISMATCH"


class UnimplementedError(LcaError):
    """This build or server cannot do that."""

    category = Category.UNIMPLEMENTED
    default_reason = "UNIMPLEMENTED"


def _subclasses(kind: type[LcaError]) -> list[type[LcaError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in _subclasses(child))]


def error_from(
    category: Category, reason: str, message: str, metadata: dict[str, str] | None = None
) -> LcaError:
    """Rebuild an error that crossed a process or the network.

    The class is the one whose default reason is ``reason``, else the base class of ``category``, so
    ``except NoPersonFoundError`` works on both sides of the wire.
    """
    kinds = _subclasses(LcaError)
    # Classes of other modules may want other arguments; a stranger's reason still comes back as its category.
    ours = [kind for kind in kinds if kind.__module__ == __name__]
    same_category = [kind for kind in ours if kind.category is category]
    named = [kind for kind in same_category if kind.default_reason == reason]
    kind = (named or same_category or [LcaError])[0]
    error = kind(message, reason=reason, metadata=metadata)
    error.category = category
    return error
