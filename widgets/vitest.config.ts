import { readFile } from "node:fs/promises";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [
    {
      name: "css-as-text",
      enforce: "pre",
      async load(id: string) {
        if (!id.endsWith(".css")) return null;
        return `export default ${JSON.stringify(await readFile(id, "utf8"))}`;
      },
    },
  ],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  define: { __HUB__: JSON.stringify("test") },
  test: {
    globalSetup: "tests/recordings.setup.ts",
    environment: "jsdom",
    testTimeout: 60_000,
    include: ["tests/**/*.test.{ts,tsx}"], environmentOptions: { jsdom: { pretendToBeVisual: true } } },
});
