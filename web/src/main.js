// The page: finds the asset (embedded in the page, or at ?asset=URL), opens it, starts the loop. `window.lca` is the
// viewer once `window.lcaReady` resolves.
import { readAvatar } from "./asset.js";
import { buildPanel } from "./panel.js";
import { Viewer } from "./viewer.js";

const status = document.getElementById("status");

async function assetBytes() {
  const embedded = document.getElementById("lca-asset");
  if (embedded) return unwrap(embedded.textContent, embedded.dataset.encoding);
  const url = new URLSearchParams(location.search).get("asset") ?? "asset.usdz";
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`The asset could not be loaded (${answer.status}).`);
  return new Uint8Array(await answer.arrayBuffer());
}

async function unwrap(text, encoding) {
  const stream = (await fetch(`data:application/octet-stream;base64,${text.trim()}`)).body;
  const plain = encoding === "gzip" ? stream.pipeThrough(new DecompressionStream("gzip")) : stream;
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

async function open() {
  const avatar = readAvatar(await assetBytes());
  const canvas = document.getElementById("view");
  const viewer = new Viewer(canvas, avatar);
  buildPanel(document.getElementById("panel"), viewer);
  const fit = () => viewer.resize(canvas.clientWidth || 512, canvas.clientHeight || 512, Math.min(devicePixelRatio, 2));
  fit();
  viewer.frameAll();
  status.remove();
  // "?still": whoever drives the page says when to draw and how large.
  if (!new URLSearchParams(location.search).has("still")) {
    new ResizeObserver(fit).observe(canvas);
    let last = performance.now();
    viewer.renderer.setAnimationLoop((now) => {
      viewer.tick(Math.min(0.1, Math.max(0, (now - last) / 1000)));
      last = now;
    });
  }
  window.lca = viewer;
  return viewer;
}

window.lcaReady = open();
window.lcaReady.catch((error) => {
  status.textContent = error.message;
  status.classList.add("failed");
  console.error(error);
});
