// Builds one classic script (IIFE): it runs from file:// too, where browsers refuse module scripts.
// `npx vite` serves the page the Python package ships with the script from src/ in place of the built one.
import { readFileSync } from "node:fs";
import { defineConfig } from "vite";

const PAGE = new URL("../bridge/lca_bridge/web/page.html", import.meta.url);

const pageFromSource = {
  name: "page-from-source",
  configureServer(server) {
    server.middlewares.use(async (request, response, next) => {
      if (request.url.split("?")[0] !== "/") return next();
      const script = '<script type="module" src="/src/main.js"></script>';
      const page = readFileSync(PAGE, "utf8").replace("<!--script-->", script);
      response.setHeader("Content-Type", "text/html");
      response.end(await server.transformIndexHtml(request.url, page));
    });
  },
};

export default defineConfig({
  appType: "custom",
  plugins: [pageFromSource],
  build: {
    outDir: "dist",
    lib: { entry: "src/main.js", formats: ["iife"], name: "lcaViewer", fileName: () => "viewer.js" },
    minify: "esbuild",
    target: "es2022",
    chunkSizeWarningLimit: 8000,
  },
});
