"""Fixtures of the model tests: analytic scenes (``scenes.py``) and one thread per test process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch


def load_scenes() -> ModuleType:
    """``scenes.py`` by path: the test tree has no packages (import mode "importlib")."""
    name = "lca_test_scenes"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("scenes.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(autouse=True, scope="session")
def single_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def scenes() -> ModuleType:
    return load_scenes()
