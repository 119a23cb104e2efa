"""Fixtures of the training tests: the analytic people of the model tests, and one thread."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="session")
def scenes() -> ModuleType:
    torch.set_num_threads(1)
    name = "lca_test_scenes"
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "model" / "scenes.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]
