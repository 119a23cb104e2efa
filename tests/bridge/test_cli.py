"""The `lca` command as a user runs it: real processes, real service, exit codes and JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lca.errors import Category
from lca_bridge.cli.main import EXIT_CODES

LCA = [sys.executable, "-m", "lca_bridge.cli"]


def lca(*args: str, data: Path | None = None, code: int = 0) -> str:
    env = dict(os.environ) | ({"LCA_DATA": str(data)} if data else {})
    done = subprocess.run([*LCA, *args], capture_output=True, text=True, env=env, timeout=120, check=False)
    assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 or "--json" in args else done.stderr


def test_help_is_instant_and_imports_nothing_heavy():
    started = time.monotonic()
    assert "turntable" in lca("--help")
    assert time.monotonic() - started < 2  # 0.1 s here; a loaded machine gets room
    code = (
        "import sys; from lca_bridge.cli.main import build_parser; build_parser();"
        "bad = {'torch', 'numpy', 'grpc', 'rich', 'numba'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_category_has_its_own_exit_code():
    assert set(EXIT_CODES) == set(Category) and len(set(EXIT_CODES.values())) == len(EXIT_CODES)
    assert 0 not in EXIT_CODES.values()


def test_a_private_service_keeps_avatars_between_commands(tmp_path, package_file):
    data = tmp_path / "d"
    assert json.loads(lca("list", "--json", data=data)) == []
    made = json.loads(lca("import", str(package_file), "--id", "ada", "--json", data=data))
    assert made["name"] == "avatars/ada"
    assert [a["name"] for a in json.loads(lca("list", "--json", data=data))] == ["avatars/ada"]
    assert "avatars/ada" in lca("list", data=data)
    assert json.loads(lca("info", "ada", "--json", data=data))["stats"]["gaussian_count"] == 200
    assert json.loads(lca("info", str(package_file), "--json", data=data))["name"] == "Test person"
    out = tmp_path / "out.lca"
    lca("download", "ada", str(out), data=data)
    assert out.read_bytes() == package_file.read_bytes()
    lca("delete", "ada", data=data)
    assert json.loads(lca("list", "--json", data=data)) == []
    lca("undelete", "ada", data=data)
    lca("delete", "ada", "--now", data=data)
    failed = json.loads(lca("info", "ada", "--json", data=data, code=EXIT_CODES[Category.NOT_FOUND]))
    assert failed["error"]["reason"] == "RESOURCE_NOT_FOUND"


def test_errors_are_one_clear_line(tmp_path):
    bad = tmp_path / "notes.mp4"
    bad.write_text("not a video")
    text = lca("create", str(bad), data=tmp_path / "d", code=EXIT_CODES[Category.INVALID_ARGUMENT])
    assert text.startswith("lca: ") and text.count("\n") == 1 and "[MEDIA_UNREADABLE]" in text
    missing = lca(
        "create", str(tmp_path / "none.mp4"), data=tmp_path / "d", code=EXIT_CODES[Category.NOT_FOUND]
    )
    assert "[FILE_NOT_FOUND]" in missing
    nobody = lca("list", "--server", "127.0.0.1:1", "--token", "x", code=EXIT_CODES[Category.UNAVAILABLE])
    assert "lca serve" in nobody


def test_serve_is_found_by_other_commands_and_stops_cleanly(tmp_path, package_file):
    data = tmp_path / "d"
    env = dict(os.environ) | {"LCA_DATA": str(data)}
    command = [*LCA, "serve", "--listen", "127.0.0.1:0", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as server:
        try:
            facts = json.loads(server.stdout.readline())
            lca("import", str(package_file), "--id", "ada", data=data)
            token = (data / "token").read_text()
            listed = lca(
                "list", "--json", "--server", facts["target"], "--token", token, data=tmp_path / "other"
            )
            assert json.loads(listed)[0]["name"] == "avatars/ada"
            refused = EXIT_CODES[Category.UNAUTHENTICATED]
            assert "[TOKEN_INVALID]" in lca(
                "list", "--server", facts["target"], "--token", "no", code=refused
            )
            second = lca(
                "serve", "--listen", "127.0.0.1:0", data=data, code=EXIT_CODES[Category.ALREADY_EXISTS]
            )
            assert "[DATA_IN_USE]" in second
            open_door = lca(
                "serve",
                "--listen",
                "0.0.0.0:0",
                data=tmp_path / "x",
                code=EXIT_CODES[Category.FAILED_PRECONDITION],
            )
            assert "[TLS_REQUIRED]" in open_door
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=15) == 0
    assert not (data / "endpoint").exists()
    assert json.loads(lca("list", "--json", data=data))[0]["name"] == "avatars/ada"


def test_doctor_reports_every_part():
    done = subprocess.run(
        [*LCA, "doctor", "--json"], capture_output=True, text=True, timeout=120, check=False
    )
    report = json.loads(done.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert {
        "python",
        "torch",
        "cuda",
        "gsplat",
        "numba",
        "landmark models",
        "weights",
        "bpy",
        "usd-core",
        "disk",
    } <= set(checks)
    assert {check["status"] for check in checks.values()} <= {"ok", "missing", "optional"}
    assert all(check["cure"] for check in checks.values() if check["status"] == "optional")
    assert report["ok"] == (done.returncode == 0) == all(c["status"] != "missing" for c in checks.values())


def test_render_animate_and_export_from_a_file(tmp_path, package_file):
    import numpy as np
    from PIL import Image

    pictures = json.loads(
        lca(
            "render",
            str(package_file),
            "--out",
            str(tmp_path / "p"),
            "--views",
            "2",
            "--size",
            "64",
            "--no-sheets",
            "--json",
        )
    )
    assert Image.open(pictures["files"][0]).size[0] > 64
    motion = tmp_path / "m.npz"
    np.savez(motion, poses=np.random.default_rng(0).normal(0, 0.1, (4, 165)), fps=25.0)
    movie = tmp_path / "m.mp4"
    lca("animate", str(package_file), "--motion", str(motion), "--out", str(movie), "--size", "64")
    import av

    with av.open(str(movie)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4
    lca(
        "animate",
        str(package_file),
        "--motion",
        str(motion),
        "--out",
        str(tmp_path / "f"),
        "--size",
        "64",
        "--frames",
        "2",
    )
    assert len(list((tmp_path / "f").glob("*.png"))) == 2
    pytest.importorskip("lca_usd.ply")
    out = tmp_path / "a.ply"
    lca("export", "ply", str(package_file), str(out))
    assert out.read_bytes().startswith(b"ply\n")


def test_render_in_other_light_from_a_file(tmp_path, package_file):
    """One light turned half round, all of them on a sheet, and no movie of all."""
    import numpy as np
    from PIL import Image

    def drawn(*options: str) -> np.ndarray:
        out = lca(
            "render",
            str(package_file),
            "--out",
            str(tmp_path),
            "--views",
            "2",
            "--size",
            "64",
            "--json",
            *options,
        )
        return np.asarray(Image.open(json.loads(out)["files"][0]))

    here = drawn("--light", "sunset").astype(int)
    turned = drawn("--light", "sunset", "--rotate", "180").astype(int)
    assert here.shape == turned.shape and np.abs(here - turned).mean() > 1
    assert drawn("--light", "all").shape[1] > 6 * 36
    refused = lca("render", str(package_file), "--light", "all", "--rotate-frames", "4", code=2)
    assert "one light" in refused


def test_unknown_benchmark_and_demo_hook():
    assert "[NO_BENCHMARK]" in lca("bench", "../evil", code=EXIT_CODES[Category.NOT_FOUND])
    assert "--clip" in lca("demo", "--help")
