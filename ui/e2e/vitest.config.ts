import { defineConfig } from "vitest/config";

// The real server and a real browser. One file after another: they share two cores, and what is
// measured must not be disturbed.
export default defineConfig({
  // The client as it is written, not as it was built.
  ssr: { resolve: { conditions: ["source"] } },
  test: {
    include: ["e2e/**/*.e2e.ts"],
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // What a page shows, it shows a moment after what made it do so.
    expect: { poll: { timeout: 10_000 } },
  },
});
