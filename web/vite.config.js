// Builds one classic script (IIFE): it runs from file:// too, where browsers refuse module scripts.
import { defineConfig } from "vite";

export default defineConfig({
  build: {
    outDir: "dist",
    lib: { entry: "src/main.js", formats: ["iife"], name: "lcaViewer", fileName: () => "viewer.js" },
    minify: "esbuild",
    target: "es2022",
    chunkSizeWarningLimit: 8000,
  },
});
