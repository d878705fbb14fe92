/**
 * Bundles the page: `node build.mjs [--out FOLDER]`; `--tests` bundles the unit tests into node_modules/.tests instead.
 * The same sources give the same bytes.
 */

import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const DEFAULT_OUT = resolve(HERE, "../src/lamina/interface/static");

async function page(out) {
  await rm(out, { recursive: true, force: true });
  await mkdir(out, { recursive: true });
  const { metafile } = await build({
    absWorkingDir: HERE,
    entryPoints: { app: "src/app.tsx" },
    outdir: out,
    bundle: true,
    splitting: true,
    format: "esm",
    target: ["es2022", "chrome110", "firefox115", "safari16.4"],
    minify: true,
    jsx: "automatic",
    jsxImportSource: "preact",
    chunkNames: "[name]-[hash]",
    assetNames: "[name]-[hash]",
    loader: { ".woff2": "file" },
    legalComments: "none", // the licences of what is bundled stand in licences.txt
    metafile: true,
  });
  for (const name of ["index.html", "icon.svg"]) await cp(join(HERE, "src", name), join(out, name));
  await writeFile(join(out, "licences.txt"), await licences(metafile));
}

/** The licence of every package that went into the bundle. */
async function licences(metafile) {
  const names = new Set();
  for (const input of Object.keys(metafile.inputs)) {
    const match = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (match) names.add(match[1]);
  }
  const parts = [];
  for (const name of [...names].sort()) {
    const folder = join(HERE, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e(\.\w+)?$/i.test(entry));
    if (!file) throw new Error(`${name} has no licence file; it may not be bundled`);
    parts.push(`${name} ${version} (${license})\n\n${(await readFile(join(folder, file), "utf8")).trim()}\n`);
  }
  return parts.join(`\n${"-".repeat(78)}\n\n`);
}

async function tests() {
  const out = join(HERE, "node_modules", ".tests");
  await rm(out, { recursive: true, force: true });
  const names = (await readdir(join(HERE, "tests"))).filter((name) => name.endsWith(".test.ts"));
  await build({
    absWorkingDir: HERE,
    entryPoints: names.map((name) => `tests/${name}`),
    outdir: out,
    bundle: true,
    platform: "node",
    format: "esm",
    outExtension: { ".js": ".mjs" },
  });
}

const args = process.argv.slice(2);
try {
  if (args.includes("--tests")) await tests();
  else await page(args.includes("--out") ? resolve(args[args.indexOf("--out") + 1]) : DEFAULT_OUT);
} catch (error) {
  if (!error.errors) throw error; // what esbuild found it has told already, with file and line
  process.exitCode = 1;
}
