"""Fixtures shared by rooms: one real avatar, made from the shipped sample clip with the shipped weights."""

from __future__ import annotations

import os
from pathlib import Path

# Before numpy or torch start their pools: tests share two cores, and spinning threads slow everything down.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest


@pytest.fixture(scope="session")
def sample_avatar_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An `.lca` of the sample clip's person, created once a session."""
    from lca_core.avatar.create import CreateOptions, create_avatar_from_clip
    from lca_core.data.sample_clip import sample_clip_path

    path = tmp_path_factory.mktemp("avatar") / "sample.lca"
    options = CreateOptions(max_references=6, inputs_licence="CC0-1.0")
    create_avatar_from_clip(sample_clip_path(), name="sample", options=options).save(path)
    return path
