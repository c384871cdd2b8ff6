import { defineConfig } from "vite";

// `npm run dev` shows the page at once and sends everything else to a server started by `dataengine annotate`.
const server = process.env.ANNOTATOR ?? "http://127.0.0.1:8080";

// The page is served from the root under a strict content policy: nothing is inlined.
export default defineConfig({
  base: "/",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  worker: { format: "es" },
  server: { proxy: { "/api": { target: server, changeOrigin: true, headers: { origin: server } } } },
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
  },
});
