/**
 * Markdown that grows: only the last block is parsed again when text is added.
 *
 * A block-level token of Markdown can change only while it is the last one, so all but the last are frozen as soon as
 * another follows. What crosses blocks (link reference definitions) is settled by `finish`, which parses once more.
 */

import { Lexer, type Token } from "marked";

export interface Block {
  key: number;
  raw: string;
  token: Token;
}

const OPTIONS = { gfm: true, breaks: true } as const;

/** The block tokens of `text`; blank lines between blocks belong to none. */
export function parse(text: string): Token[] {
  return Lexer.lex(text, { ...OPTIONS }).filter((token) => token.type !== "space" && token.type !== "def");
}

export class GrowingMarkdown {
  /** Blocks that will not change any more. The array is replaced, never changed. */
  frozen: readonly Block[] = [];
  /** The block that is still being written. */
  last: Block | null = null;
  #tail = "";
  #whole = "";

  get text(): string {
    return this.#whole;
  }

  /** Add text; cost: the length of the last block. */
  push(text: string): void {
    this.#whole += text;
    this.#tail += text;
    const tokens = Lexer.lex(this.#tail, { ...OPTIONS });
    let end = tokens.length - 1;
    while (end > 0 && tokens[end]?.type === "space") end--;
    let cut = 0;
    const settled: Block[] = [];
    for (const token of tokens.slice(0, Math.max(end, 0))) {
      cut += token.raw.length;
      if (token.type !== "space" && token.type !== "def") {
        settled.push({ key: this.frozen.length + settled.length, raw: token.raw, token });
      }
    }
    if (settled.length) this.frozen = [...this.frozen, ...settled];
    this.#tail = this.#tail.slice(cut);
    const token = tokens[end];
    this.last = token && token.type !== "space" ? { key: this.frozen.length, raw: token.raw, token } : null;
  }
}

/** All blocks of a finished text; a block that stays the same keeps its key, so it is not drawn again. */
export function blocksOf(text: string): Block[] {
  return parse(text).map((token, key) => ({ key, raw: token.raw, token }));
}
