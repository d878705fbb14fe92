/**
 * A Markdown token as DOM. Model text is untrusted: raw HTML is shown as text, marked's output goes through DOMPurify
 * (which makes its markup under the Trusted Types policy "dompurify"), and what is inserted are nodes, never markup.
 */

import DOMPurify from "dompurify";
import { Parser, Renderer, type Token, type Tokens } from "marked";

const ALLOWED_TAGS = [
  ..."a b blockquote br code del em h1 h2 h3 h4 h5 h6 hr i li ol p pre s span strong".split(" "),
  ..."sub sup table tbody td th thead tr ul".split(" "),
];

const CONFIG = {
  ALLOWED_TAGS,
  ALLOWED_ATTR: ["href", "title", "class", "start", "align"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true as const,
};

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

class SafeRenderer extends Renderer {
  override html({ text }: Tokens.HTML | Tokens.Tag): string {
    return escape(text);
  }

  /** An image address can carry what was said to whoever runs the address: never loaded. */
  override image({ text, href }: Tokens.Image): string {
    const words = text ? `external image blocked: ${text}` : "external image blocked";
    return `<span class="blocked-image" title="${escape(href)}">${escape(words)}</span>`;
  }

  override checkbox({ checked }: Tokens.Checkbox): string {
    return checked ? "☑ " : "☐ ";
  }
}

const OPTIONS = { gfm: true, breaks: true, renderer: new SafeRenderer() };

/** `token` as nodes; `[n]` becomes a button where there is a source of that number. */
export function render(token: Token, sources: number): DocumentFragment {
  const markup = Parser.parse([token], OPTIONS);
  const fragment = DOMPurify.sanitize(markup, CONFIG);
  for (const link of fragment.querySelectorAll("a")) {
    if (!link.getAttribute("href")) {
      link.replaceWith(...link.childNodes);
      continue;
    }
    link.rel = "noopener noreferrer nofollow";
    link.target = "_blank";
  }
  for (const table of fragment.querySelectorAll("table")) wrap(table);
  if (sources > 0) cite(fragment, sources);
  return fragment;
}

/** Wide tables scroll by themselves, and can be scrolled by keyboard. */
function wrap(table: HTMLTableElement): void {
  const frame = document.createElement("div");
  frame.className = "table-frame";
  frame.tabIndex = 0;
  frame.role = "region";
  frame.ariaLabel = "Table";
  table.replaceWith(frame);
  frame.append(table);
}

function cite(root: DocumentFragment, sources: number): void {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const texts: Text[] = [];
  while (walker.nextNode()) {
    const text = walker.currentNode as Text;
    if (/\[\d+\]/.test(text.data) && !text.parentElement?.closest("code, pre, a")) texts.push(text);
  }
  for (const text of texts) {
    const parts: (string | Node)[] = [];
    let from = 0;
    for (const match of text.data.matchAll(/\[(\d{1,2})\]/g)) {
      const number = Number(match[1]);
      if (number < 1 || number > sources) continue;
      parts.push(text.data.slice(from, match.index), mark(number));
      from = match.index + match[0].length;
    }
    if (parts.length) text.replaceWith(...parts, text.data.slice(from));
  }
}

function mark(number: number): HTMLButtonElement {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "cite";
  button.dataset["source"] = String(number);
  button.textContent = String(number);
  button.ariaLabel = `Source ${number}`;
  return button;
}
