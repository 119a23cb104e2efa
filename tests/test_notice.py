"""NOTICE lists every shipped asset with its true hash; no asset lies in a folder without a licence."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("notice", ROOT / "docs" / "notice.py")
assert SPEC and SPEC.loader
notice = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(notice)


def test_notice_is_current() -> None:
    assert (ROOT / "NOTICE").read_text(encoding="utf-8") == notice.current()


def test_no_asset_without_a_licence() -> None:
    shipped = [
        path
        for folder in ("core", "bridge", "usd_export", "blender_addon", "proto")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in notice.SUFFIXES
    ]
    assert shipped
    homeless = [
        str(p) for p in shipped if not any(p.is_relative_to(ROOT / folder) for folder in notice.GROUPS)
    ]
    assert not homeless
