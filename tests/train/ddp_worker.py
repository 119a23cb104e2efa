"""One process of the data-parallel test: three steps of tiny training, weights to a file.

``python ddp_worker.py OUT`` alone, or several of it under ``torchrun``.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch


def scenes_module():
    path = Path(__file__).parents[1] / "model" / "scenes.py"
    spec = importlib.util.spec_from_file_location("lca_test_scenes", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lca_test_scenes"] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    torch.set_num_threads(1)
    from lca_core.model.config import PRESETS
    from lca_core.model.network import LCAModel
    from lca_core.train.examples import Augmentation, draw_batch
    from lca_core.train.loop import LoopConfig, Trainer
    from lca_core.train.losses import stage_a
    from lca_core.train.parallel import join, leave

    scenes, tiny, out = scenes_module(), PRESETS["tiny"], Path(sys.argv[1])
    torch.manual_seed(1)
    template = scenes.template(tiny.uv_size)
    people = [scenes.person(i) for i in range(3)]

    def loss(module, cursor):
        batch = draw_batch(people, cursor, 1, 1, tiny, template, Augmentation())
        return stage_a(module, batch, texels=64)

    world = join("cpu")
    config = LoopConfig(time_budget=0, max_steps=3, warmup=2, accumulate=4, ema=0.9)
    trainer = Trainer(LCAModel(tiny, template), loss, config, out, world)
    trainer.run()
    if world.first:
        torch.save({"model": trainer.model.state_dict(), "ema": trainer.ema}, out / "final.pt")
    leave()


if __name__ == "__main__":
    main()
