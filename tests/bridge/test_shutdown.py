"""A private service ends without leaving work behind on its loop (asyncio would complain about it later)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from lca_bridge.server.app import ServiceThread
from lca_bridge.server.config import ServerConfig


def test_pending_work_is_cancelled_before_the_loop_closes(tmp_path: Path) -> None:
    ended: list[str] = []

    async def linger() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)  # needs one more turn of the loop, as a cancelled call does
            ended.append("cleaned up")

    async def start() -> asyncio.Task[None]:
        task = asyncio.create_task(linger())
        await asyncio.sleep(0)
        return task

    thread = ServiceThread(ServerConfig(data_dir=tmp_path, address="127.0.0.1:0"))
    with thread:
        task = thread.call(start())
    assert task.cancelled() and ended == ["cleaned up"]
