// Builds mesh_nb/static/{hub,stub,graph,more,composer}.js and fails when the core of them is too large; with --preview also build/preview/, a page that plays a run without a kernel.
import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, transform } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "mesh_nb", "static");
const KEY = "@@HUB@@";
/** Bytes, gzipped, of what every page loads: hub and stub. */
const CORE_LIMIT = 80_000;

const css = {
  name: "css",
  setup(plugin) {
    plugin.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, "utf8"), { loader: "css", minify: true, target: "es2022" });
      return { contents: code.trim(), loader: "text" };
    });
  },
};

async function bundle(entry, banner, { plugins = [], ...options } = {}) {
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
    plugins: [css, ...plugins],
    banner: { js: banner },
    ...options,
  });
  return result.outputFiles[0].text;
}

const LICENSES =
  "/*! mesh_nb (MIT) with preact, marked (MIT), remend (Apache-2.0), DOMPurify (MPL-2.0 OR Apache-2.0), highlight.js (BSD-3-Clause) */";

/** What graphs and timelines share with the hub is not built twice: it comes from there when they are made. */
async function drawings() {
  const { metafile } = await build({ absWorkingDir: here, entryPoints: ["src/shared.ts"], bundle: true, format: "esm", write: false, metafile: true, jsx: "automatic", jsxImportSource: "preact", plugins: [css], outdir: "none" });
  const names = Object.values(metafile.outputs)[0].exports;
  const shared = {
    name: "shared",
    setup(plugin) {
      plugin.onResolve({ filter: /^(?:preact\/(?:jsx-runtime|hooks)|\.\/(?:errors|icons|parts)|\.\.\/core\/(?:flow|format|theme))$/ }, () => ({ path: "shared", namespace: "shared" }));
      plugin.onLoad({ filter: /.*/, namespace: "shared" }, () => ({ contents: `export const { ${names.join(", ")} } = require("hub");` }));
    },
  };
  return bundle("src/drawings.ts", "", { format: "cjs", external: ["hub"], plugins: [shared] });
}

const drawn = {
  name: "drawn",
  setup(plugin) {
    plugin.onResolve({ filter: /^drawings$/ }, () => ({ path: "drawings", namespace: "drawn" }));
    plugin.onLoad({ filter: /.*/, namespace: "drawn" }, async () => ({ contents: `export default (require) => { const module = {}; ${await drawings()}; return module.exports; };` }));
  },
};

const hub = await bundle("src/hub.tsx", LICENSES);
const more = await bundle("src/more.ts", "/*! mesh_nb (MIT) with temml (MIT), highlight.js (BSD-3-Clause) */");
const graph = await bundle("src/graph.ts", "/*! mesh_nb (MIT) */", { plugins: [drawn] });
const stub = await bundle("src/stub.ts", "");
const composer = await bundle("src/composer.ts", "");
const key = createHash("sha256").update(hub).update(stub).update(graph).update(more).digest("hex").slice(0, 12);

await mkdir(out, { recursive: true });
let core = 0;
for (const [name, text] of Object.entries({ "hub.js": hub, "stub.js": stub, "graph.js": graph, "composer.js": composer, "more.js": more })) {
  const final = text.replaceAll(KEY, key);
  await writeFile(join(out, name), final);
  const gzip = gzipSync(final, { level: 9 }).length;
  if (name === "hub.js" || name === "stub.js") core += gzip;
  console.log(`${name}  ${(final.length / 1000).toFixed(1)} KB, ${(gzip / 1000).toFixed(1)} KB gzip`);
}
if (core > CORE_LIMIT) {
  console.error(`hub.js and stub.js are ${core} bytes gzipped; the limit is ${CORE_LIMIT}. Let a part load when it is first needed.`);
  process.exitCode = 1;
}

if (process.argv.includes("--preview")) {
  const preview = join(here, "..", "build", "preview");
  await mkdir(preview, { recursive: true });
  await writeFile(join(preview, "preview.js"), await bundle("preview/preview.ts", "", { minify: false }));
  await copyFile(join(here, "preview", "index.html"), join(preview, "index.html"));
  console.log(`preview: ${join(preview, "index.html")}`);
}
