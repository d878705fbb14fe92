/** Sentences for screen readers: a stream is read aloud sentence by sentence, never token by token. */

const END = /[.!?…:](?=["')\]]?\s)|[。！？]|\n\n/g;

export class SentenceCutter {
  #rest = "";

  /** Add text; the whole sentences that it completes, joined, or "". */
  push(text: string): string {
    this.#rest += text;
    let cut = 0;
    for (const match of this.#rest.matchAll(END)) cut = match.index + match[0].length;
    const said = this.#rest.slice(0, cut);
    this.#rest = this.#rest.slice(cut);
    return plain(said);
  }

  /** What is left at the end. */
  finish(): string {
    const said = plain(this.#rest);
    this.#rest = "";
    return said;
  }
}

/** Markdown marks are noise when read aloud. */
function plain(text: string): string {
  return text.replace(/[*_`#>|]+/g, "").replace(/\s+/g, " ").trim();
}
