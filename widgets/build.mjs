// Builds mesh_nb/static/{hub,stub,composer}.js; with --preview also build/preview/, a page that plays a run without a kernel.
import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, transform } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "mesh_nb", "static");
const KEY = "@@HUB@@";

const css = {
  name: "css",
  setup(plugin) {
    plugin.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, "utf8"), { loader: "css", minify: true, target: "es2022" });
      return { contents: code.trim(), loader: "text" };
    });
  },
};

async function bundle(entry, banner, options = {}) {
  const result = await build({
    absWorkingDir: here,
    entryPoints: [entry],
    bundle: true,
    format: "esm",
    target: "es2022",
    minify: true,
    write: false,
    legalComments: "none",
    jsx: "automatic",
    jsxImportSource: "preact",
    charset: "utf8",
    define: { __HUB__: JSON.stringify(KEY) },
    plugins: [css],
    banner: { js: banner },
    ...options,
  });
  return result.outputFiles[0].text;
}

const LICENSES =
  "/*! mesh_nb (MIT) with preact, marked (MIT), remend (Apache-2.0), DOMPurify (MPL-2.0 OR Apache-2.0), highlight.js (BSD-3-Clause) */";

const hub = await bundle("src/hub.tsx", LICENSES);
const more = await bundle("src/more.ts", "/*! mesh_nb (MIT) with temml (MIT), highlight.js (BSD-3-Clause) */");
const stub = await bundle("src/stub.ts", "");
const composer = await bundle("src/composer.ts", "");
const key = createHash("sha256").update(hub).update(stub).update(more).digest("hex").slice(0, 12);

await mkdir(out, { recursive: true });
for (const [name, text] of Object.entries({ "hub.js": hub, "stub.js": stub, "composer.js": composer, "more.js": more })) {
  const final = text.replaceAll(KEY, key);
  await writeFile(join(out, name), final);
  const gzip = gzipSync(final, { level: 9 }).length;
  console.log(`${name}  ${(final.length / 1024).toFixed(1)} KiB, ${(gzip / 1024).toFixed(1)} KiB gzip`);
}

if (process.argv.includes("--preview")) {
  const preview = join(here, "..", "build", "preview");
  await mkdir(preview, { recursive: true });
  await writeFile(join(preview, "preview.js"), await bundle("preview/preview.ts", "", { minify: false }));
  await copyFile(join(here, "preview", "index.html"), join(preview, "index.html"));
  console.log(`preview: ${join(preview, "index.html")}`);
}
