"""Hostile messages for every method of the protocol, from a seed.

Three kinds, mixed: messages filled field by field with awkward values (names that look like paths, NaN,
numbers at the ends of their types, names that exist), such messages with bytes flipped, cut, doubled or
moved, and plain noise.
"""

from __future__ import annotations

import importlib
import random
import struct
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.descriptor import MethodDescriptor

PROTO = Path(__file__).parents[2] / "proto" / "lca" / "v1"


@dataclass(frozen=True)
class Method:
    """One RPC of ``lca.v1``."""

    path: str
    request: Any
    streams_in: bool
    streams_out: bool

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def service(self) -> str:
        return self.path.split("/")[1].rpartition(".")[2]


def methods() -> list[Method]:
    """All RPCs, from the descriptors, so that a new one is fuzzed from its first day."""
    found = []
    for path in sorted(PROTO.glob("*_service.proto")):
        module = importlib.import_module(f"lca.v1.{path.stem}_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            found += [_method(service.full_name, method) for method in service.methods]
    return found


def _method(service: str, method: MethodDescriptor) -> Method:
    kind = message_factory.GetMessageClass(method.input_type)
    return Method(f"/{service}/{method.name}", kind, method.client_streaming, method.server_streaming)


def _is_many(field: Any) -> bool:
    return field.is_repeated if hasattr(field, "is_repeated") else field.label == Field.LABEL_REPEATED


class Fuzzer:
    """Makes messages; ``names`` are resource names that exist. Fields that stand for one kind of them
    (``avatars``, ``jobs``, ``uploads``) mostly get one of that kind; ``own`` is the kind a plain ``name``
    stands for.
    """

    def __init__(self, seed: int, names: list[str], own: str = "avatars") -> None:
        self.random = random.Random(seed)
        self._names, self._own = names, own
        r = self.random
        big = [0, 1, 2, 5, 24, 64, 100, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1]
        self._texts: list[Callable[[], str]] = [
            lambda: r.choice(self._names),
            lambda: r.choice(self._names),
            lambda: r.choice(self._names) + r.choice(["/rig", "/../x", "%2e%2e", "\0", "\u202e", "А"]),
            lambda: "avatars/../../etc/passwd",
            lambda: "a" * r.choice([0, 1, 63, 64, 10_000]),
            lambda: f"{r.getrandbits(128):032x}",
            lambda: f"{r.getrandbits(256):064x}",
            lambda: "".join(r.choice("\0\t/A\u0301\u4e2d\U0001f600") for _ in range(r.randrange(20))),
        ]

        def integers(low: int, high: int) -> Callable[[], int]:
            near = [low, *(value for value in big if low <= value <= high)]
            return lambda: r.choice([*near, r.randint(low, high)])

        def floats() -> float:
            return r.choice([0.0, -0.0, 1.0, 30.0, -1.0, 1e30, float("nan"), float("inf"), r.gauss(0, 1)])

        self._scalars: dict[int, Callable[[], Any]] = {
            Field.CPPTYPE_INT32: integers(-(2**31), 2**31 - 1),
            Field.CPPTYPE_INT64: integers(-(2**63), 2**63 - 1),
            Field.CPPTYPE_UINT32: integers(0, 2**32 - 1),
            Field.CPPTYPE_UINT64: integers(0, 2**64 - 1),
            Field.CPPTYPE_ENUM: lambda: r.choice([0, 1, 1, 2, 3, 7, -1]),
            Field.CPPTYPE_BOOL: lambda: r.random() < 0.5,
            Field.CPPTYPE_DOUBLE: floats,
            Field.CPPTYPE_FLOAT: lambda: struct.unpack("<f", struct.pack("<f", floats()))[0],
        }

    def message(self, kind: Any, noise: float = 0.25) -> bytes:
        """Bytes that claim to be a ``kind``; a share of ``noise`` is damaged, or was never a message."""
        r = self.random
        if r.random() < noise / 4:
            return r.randbytes(r.choice([1, 7, 100, 3000]))
        filled = kind()
        self._fill(filled, depth=0)
        data = filled.SerializeToString()
        return self._mutate(data) if r.random() < noise else data

    def messages(self, kind: Any, count: int, noise: float = 0.25) -> Iterator[bytes]:
        """``count`` of them."""
        return (self.message(kind, noise) for _ in range(count))

    def _fill(self, message: Any, depth: int) -> None:
        r = self.random
        chosen = {self._one_of(group) for group in message.DESCRIPTOR.oneofs}
        for field in message.DESCRIPTOR.fields:
            if field.containing_oneof is not None:
                if field not in chosen or depth > 5:
                    continue
            elif r.random() < 0.35 or depth > 5:
                continue
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                for _ in range(r.choice([0, 1, 3, 70])):
                    getattr(message, field.name)[r.choice(self._texts)()] = r.choice(self._texts)()
            elif field.message_type is not None:
                many = _is_many(field)
                for _ in range(r.choice([0, 1, 2, 5]) if many else 1):
                    inner = getattr(message, field.name)
                    inner = inner.add() if many else inner
                    if not many:
                        inner.SetInParent()
                    self._fill(inner, depth + 1)
            else:
                self._set(message, field)

    def _one_of(self, group: Any) -> Any:
        """One field of a oneof: mostly those a stream consists of, because the others end it."""
        usual = {"pose": 10.0, "poses": 3.0, "credit": 3.0, "request_keyframe": 2.0}
        weights = [usual.get(field.name, 0.4) for field in group.fields]
        return self.random.choices(group.fields, weights)[0]

    def _usual(self, name: str) -> str | None:
        """What a text field of this name normally holds, most of the time."""
        r = self.random
        if r.random() < 0.3:
            return None
        match name:
            case "request_id":
                return r.choice(["", str(uuid.UUID(int=r.getrandbits(128)))])
            case "revision" | "etag" | "page_token" | "sha256":
                return r.choice(["", "", None])
            case "avatar" | "name" | "package" | "clips":
                kind = {"avatar": "avatars", "package": "uploads", "clips": "uploads"}.get(name, self._own)
                fitting = [found for found in self._names if found.startswith(f"{kind}/")]
                return r.choice(fitting if fitting and r.random() < 0.8 else self._names)
        return None

    def _set(self, message: Any, field: Any) -> None:
        r = self.random
        if field.type == Field.TYPE_STRING and (usual := self._usual(field.name)) is not None:
            if _is_many(field):
                getattr(message, field.name).append(usual)
            else:
                setattr(message, field.name, usual)
            return
        many = _is_many(field)
        if field.cpp_type == Field.CPPTYPE_STRING:
            text = field.type == Field.TYPE_STRING
            make = r.choice(self._texts) if text else lambda: r.randbytes(r.choice([0, 1, 64, 5000]))
        else:
            make = self._scalars[field.cpp_type]
        if not many:
            usual = field.name == "frame_rate" and r.random() < 0.7
            setattr(message, field.name, 30.0 if usual else make())
            return
        # the sizes poses and cameras have, so that values are looked at, too
        size = r.choice([0, 1, 3, 4, 16, 27, 52, 165])
        value = make() if r.random() < 0.5 else 0
        texts = field.cpp_type == Field.CPPTYPE_STRING
        getattr(message, field.name).extend([make()] if texts else [value] * size)

    def _mutate(self, data: bytes) -> bytes:
        r, out = self.random, bytearray(data or b"\0")
        for _ in range(r.choice([1, 1, 2, 8])):
            at = r.randrange(len(out))
            match r.randrange(5):
                case 0:
                    out[at] ^= 1 << r.randrange(8)
                case 1:
                    del out[at : at + r.randrange(1, 9)]
                case 2:
                    out[at:at] = out[at : at + r.randrange(1, 40)]
                case 3:
                    out[at:at] = r.randbytes(r.randrange(1, 9))
                case _:
                    out[at] = r.choice([0, 0x7F, 0x80, 0xFF])
            if not out:
                out = bytearray(b"\x08")
        return bytes(out)
