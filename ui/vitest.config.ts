import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { conditions: ["source", "module", "browser"] },
  ssr: { resolve: { conditions: ["source", "module"] } },
  test: { include: ["test/**/*.test.ts"] },
});
