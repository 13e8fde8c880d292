import { defineConfig } from "vite";

// The server embeds dist/ and allows nothing inline and nothing from elsewhere: every asset is a
// file with its hash in its name.
export default defineConfig({
  resolve: { conditions: ["source", "module", "browser"] },
  build: {
    assetsInlineLimit: 0,
    modulePreload: false,
    target: "es2022",
    reportCompressedSize: false,
  },
  server: { proxy: { "/v1": process.env.RUNCAST_URL ?? "http://127.0.0.1:7070" } },
});
