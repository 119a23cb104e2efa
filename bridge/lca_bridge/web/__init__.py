"""The avatar viewer as one HTML page: the built script of `web/` (committed gzipped, so no node is needed)
and, for pages that open without a server, the asset itself.
"""

from __future__ import annotations

import base64
import gzip
import html
from importlib import resources

# A classic script: pages opened from disk may not load modules. The browser unpacks it by itself.
_START = """<script type="text/plain" id="lca-viewer">{code}</script>
<script>
(async () => {{
  const packed = document.getElementById("lca-viewer").textContent;
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.body.append(script);
  document.dispatchEvent(new Event("lca-started"));
}})().catch((error) => {{
  document.getElementById("status").textContent = "This browser is too old: " + error;
}});
</script>"""


def viewer_script() -> bytes:
    """The viewer's JavaScript as built by ``make web``."""
    return gzip.decompress(_packed())


def page(title: str = "LCA avatar", asset: bytes | None = None, extra: str = "") -> str:
    """The viewer as HTML.

    Args:
        asset: bytes of a ``.usdz`` or ``.usdc`` to embed; None for a page that loads ``asset.usdz``
            beside it.
        extra: HTML that goes before the end of the body.
    """
    text = resources.files(__name__).joinpath("page.html").read_text(encoding="utf-8")
    text = text.replace("<title>LCA avatar</title>", f"<title>{html.escape(title)}</title>")
    data = ""
    if asset is not None:
        packed = base64.b64encode(gzip.compress(asset, 6, mtime=0)).decode()
        data = f'<script type="text/plain" id="lca-asset" data-encoding="gzip">{packed}</script>'
    text = text.replace("<!--asset-->", data)
    return text.replace("<!--script-->", _START.format(code=base64.b64encode(_packed()).decode()) + extra)


def _packed() -> bytes:
    return resources.files(__name__).joinpath("viewer.js.gz").read_bytes()
