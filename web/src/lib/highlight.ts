/** Code in colours: highlight.js, loaded when the first finished code block is shown. */

import type { HLJSApi } from "highlight.js";

let loading: Promise<HLJSApi> | null = null;

function load(): Promise<HLJSApi> {
  loading ??= import("./languages.ts").then((module) => module.default);
  return loading;
}

/** Longer code stays plain: colouring it would block the page. */
const MAX_CHARS = 60_000;

type Emitted = string | { scope?: string; children: Emitted[] };

/** `code` as nodes with highlight.js's classes, or null where the language is not known. */
export async function highlight(code: string, language: string): Promise<Node[] | null> {
  if (code.length > MAX_CHARS) return null;
  const hljs = await load();
  if (!hljs.getLanguage(language)) return null;
  const result = hljs.highlight(code, { language, ignoreIllegals: true });
  // the token tree instead of its markup: nodes need no sanitising
  const root = (result._emitter as unknown as { rootNode: { children: Emitted[] } }).rootNode;
  return root.children.map(node);
}

function node(emitted: Emitted): Node {
  if (typeof emitted === "string") return document.createTextNode(emitted);
  const span = document.createElement("span");
  if (emitted.scope) span.className = `hljs-${emitted.scope.split(".")[0]}`;
  span.append(...emitted.children.map(node));
  return span;
}
