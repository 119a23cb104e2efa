"""How commands speak: JSON for programs, short tables and one progress bar for people."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any


def message_dict(message: Any) -> dict[str, Any]:
    """A protobuf message as plain data, field names as in the .proto files."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=1))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


Advance = Callable[[str, float, float | None], None]
"""``advance(what, fraction, seconds_left)``"""


@contextlib.contextmanager
def progress_bar(quiet: bool) -> Iterator[Advance]:
    """A progress bar on standard error; silent for ``--json`` and when nobody watches."""
    if quiet or not sys.stderr.isatty():
        yield lambda what, fraction, left: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description:<28}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TextColumn("{task.fields[left]}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0, left="")

        def advance(what: str, fraction: float, left: float | None) -> None:
            shown = "" if left is None else f"about {left:.0f} s left"
            bar.update(task, completed=fraction, description=what, left=shown)

        yield advance
