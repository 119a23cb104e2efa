"""The service under test, in a process of its own: ``python -m parts.stream_server FOLDER GAUSSIANS [...]``.

With ``--replay K`` the evaluation of poses is replaced by K frames computed beforehand, so that what is left
is the wire: session, encoding, gRPC or shared memory. Prints one line of JSON when ready and ends with its
standard input.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lca_bridge.client import connect
from lca_bridge.server import frames
from lca_bridge.server.app import ServiceThread
from lca_bridge.server.config import Limits, ServerConfig
from lca_bridge.server.memory import tune_malloc
from lca_bridge.wire.messages import MAX_PAYLOAD_BYTES
from lca_bridge.wire.skin import PosedSplats
from parts.stream_avatar import write_random_avatar

AVATAR = "avatars/random"


class Replay:
    """An evaluator that has done its work: same sizes and types, frames in turn."""

    def __init__(self, evaluator: Any, count: int) -> None:
        self._evaluator = evaluator
        self.gaussian_count, self.sh_bands = evaluator.gaussian_count, evaluator.sh_bands
        self.rig_frames = evaluator.rig_frames
        self.load_live = evaluator.load_live
        rng = np.random.default_rng(0)
        made = []
        for _ in range(count):
            pose = {
                "translation": rng.normal(0, 0.02, 3).astype(np.float32),
                "joint_rotations": rng.normal(0, 0.05, (55, 3)).astype(np.float32),
                "arkit_weights": rng.random(52).astype(np.float32),
                "gaze": np.zeros((2, 2), np.float32),
            }
            splats: PosedSplats = evaluator.splats(pose)
            made.append(splats)
        self._frames = itertools.cycle(made)

    def splats(self, pose: Any, live: bool = False) -> PosedSplats:
        return next(self._frames)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("gaussians", type=int)
    parser.add_argument("--replay", type=int, default=0)
    parser.add_argument("--chunk", type=int, default=MAX_PAYLOAD_BYTES)
    parser.add_argument("--plain-malloc", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    if options.plain_malloc:
        import lca_bridge.server.app as app

        app.tune_malloc = dict  # type: ignore[assignment]
    if options.chunk != MAX_PAYLOAD_BYTES:
        frames.frame_to_protos = functools.partial(frames.frame_to_protos, max_payload=options.chunk)
    limits = Limits(running_jobs=options.jobs, streams=64)
    config = ServerConfig(data_dir=options.folder, address="127.0.0.1:0", limits=limits)
    with ServiceThread(config) as service:
        with connect(service.target, service.token, wait_seconds=10) as client:
            if not client.list_avatars():
                path = options.folder / "random.lca"
                write_random_avatar(path, options.gaussians)
                client.import_avatar(client.upload(path).name, avatar_id="random")
            revision = client.get_avatar(AVATAR).revision
        assert service.service is not None
        evaluators = service.service.core.evaluators
        if options.replay:
            replay = Replay(service.call(evaluators.get(revision)), options.replay)
            evaluators._loaded[revision] = replay  # type: ignore[assignment]
        malloc = {} if options.plain_malloc else tune_malloc()
        facts = {"target": service.target, "token": service.token, "malloc": malloc, "pid": os.getpid()}
        print(json.dumps(facts), flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
