"""The page without a browser: the committed bundle is the built one, it is small, and `lca view` serves only
what it should, only here.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from lca_bridge.cli.main import main
from lca_bridge.cli.view import avatar_asset, page_server
from lca_bridge.web import page, viewer_script

ROOT = Path(__file__).parents[2]
WEB, SHIPPED = ROOT / "web", ROOT / "bridge" / "lca_bridge" / "web"


def test_the_bundle_is_small_and_asks_for_nothing() -> None:
    assert (SHIPPED / "viewer.js.gz").stat().st_size <= 2_000_000
    text = page()
    for word in ("<link", "<iframe", "@import", 'src="http'):
        assert word not in text.partition('<script type="text/plain"')[0]
    assert "MIT License" in text and "three.js" in text
    licences = (SHIPPED / "LICENSES.txt").read_text(encoding="utf-8")
    assert "three.js authors" in licences and "WORLD LABS" in licences
    versions = json.loads((WEB / "package.json").read_text())["dependencies"]
    assert f"three {versions['three']}" in licences and f"spark {versions['@sparkjsdev/spark']}" in licences


def test_the_bundle_is_current(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None or not (WEB / "node_modules" / "vite").is_dir():
        pytest.skip("no node, or `make web` has not been run here")
    vite = WEB / "node_modules" / "vite" / "bin" / "vite.js"
    options = [node, str(vite), "build", "--outDir", str(tmp_path), "--logLevel", "error"]
    subprocess.run(options, cwd=WEB, check=True, timeout=300, env={**os.environ, "CI": "1"})
    assert (tmp_path / "viewer.js").read_bytes() == viewer_script(), "run make web"
    subprocess.run([node, "pack.mjs", str(tmp_path), str(tmp_path)], cwd=WEB, check=True)
    assert (tmp_path / "LICENSES.txt").read_bytes() == (SHIPPED / "LICENSES.txt").read_bytes(), "run make web"


def test_the_server_knows_two_things() -> None:
    with page_server(b"asset", "Anna") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        assert server.server_address[0] == "127.0.0.1"
        assert b"<title>Anna</title>" in urllib.request.urlopen(f"{base}/?x=1").read()
        assert urllib.request.urlopen(f"{base}/asset.usdz").read() == b"asset"
        for path in ("/../README.md", "/etc/passwd", "/viewer.js"):
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(base + path)
        for host in ("evil.example", "127.0.0.1.evil.example:80"):  # a name that was made to point here
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(urllib.request.Request(f"{base}/asset.usdz", headers={"Host": host}))
        server.shutdown()


def test_lca_view_writes_one_file(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sub" / "view.html"
    assert main(["view", str(package), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(out), "bytes": out.stat().st_size}
    text = out.read_text(encoding="utf-8")
    assert 'id="lca-asset"' in text and 'id="lca-viewer"' in text
    scene = tmp_path / "a.usdz"
    scene.write_bytes(avatar_asset(package))
    assert main(["view", str(scene), "--out", str(out)]) == 0
    packed = out.read_text(encoding="utf-8").partition('data-encoding="gzip">')[2].partition("<")[0]
    assert gzip.decompress(base64.b64decode(packed)) == scene.read_bytes()


def test_lca_view_refuses(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path / "no.usdz"), "--out", str(tmp_path / "a.html")]) == 4
    assert main(["view", str(package), "--out", str(tmp_path / "a.txt")]) == 2
    (tmp_path / "a.usdz").write_bytes(b"x")
    assert (
        main(["view", str(tmp_path / "a.usdz"), "--motion", "m.npz", "--out", str(tmp_path / "a.html")]) == 2
    )
    capsys.readouterr()
    assert not (tmp_path / "a.html").exists()
