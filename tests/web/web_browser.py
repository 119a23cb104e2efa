"""Headless Chromium for tests: opens a page, runs a script in it, returns what the script answers."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--use-gl=angle",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--mute-audio",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--enable-logging=stderr",
    "--window-size=1000,700",
    "--remote-debugging-port=0",
)


def find_chromium() -> str | None:
    """``LCA_CHROMIUM``, or a Chromium on the path."""
    named = os.environ.get("LCA_CHROMIUM")
    if named:
        return named if Path(named).is_file() else None
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def drive(
    chromium: str,
    html: str,
    script: str,
    asset: bytes | None = None,
    seconds: float = 240,
    query: str = "?still",
) -> Any:
    """Open ``html`` (a viewer page), run ``script`` (an async function body that may ``return`` JSON).

    With ``asset`` the page comes from a loopback server and finds the bytes at ``/asset.usdz``; without,
    it is opened from disk (``file://``), as a person would open it.

    Raises:
        RuntimeError: the script threw, the browser ended, or time ran out.
    """
    answer: dict[str, Any] = {}
    arrived = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = asset if self.path.startswith("/asset") else whole.encode()
            kind = (
                "application/octet-stream" if self.path.startswith("/asset") else "text/html; charset=utf-8"
            )
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body or b"")

        def do_POST(self) -> None:
            answer.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()
            arrived.set()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    base = f"http://127.0.0.1:{server.server_port}"
    driver = f"""<script>
const answer = (value) => fetch("{base}/answer", {{method: "POST", body: JSON.stringify(value)}});
addEventListener("error", (e) => answer({{error: e.message + " " + e.filename + ":" + e.lineno}}));
document.addEventListener("lca-started", async () => {{
  try {{
    const lca = await window.lcaReady;
    answer({{value: await (async () => {{ {script} }})() ?? null}});
  }} catch (error) {{ answer({{error: String(error && error.stack || error)}}); }}
}});
</script>"""
    whole = html.replace("</body>", driver + "</body>")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with tempfile.TemporaryDirectory(prefix="lca-web-", ignore_cleanup_errors=True) as folder:
        target = f"{base}/{query}"
        if asset is None:
            (Path(folder) / "view.html").write_text(whole, encoding="utf-8")
            target = f"file://{folder}/view.html{query}"
        log = (Path(folder) / "log").open("wb")
        process = subprocess.Popen(
            [chromium, *FLAGS, f"--user-data-dir={folder}/profile", target],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            for _ in range(int(seconds * 4)):
                if arrived.wait(0.25) or process.poll() is not None:
                    break
            if "value" not in answer:
                log.flush()
                tail = (Path(folder) / "log").read_text(errors="replace")[-1500:]
                raise RuntimeError(f"{answer.get('error', 'the browser gave no answer')}\n{tail}")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
            log.close()
            server.shutdown()
            server.server_close()
    return answer["value"]
