/** Server-sent events of a fetch body, as the `data` of each event (WHATWG HTML, 9.2.6). */

/** Cuts a stream of text into events; a chunk may end anywhere, also inside a line. */
export class EventParser {
  #rest = "";
  #data: string[] = [];

  /** The `data` of the events that `text` completes. */
  push(text: string): string[] {
    const events: string[] = [];
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) events.push(this.#data.join("\n"));
        this.#data = [];
      } else if (line.startsWith("data:")) {
        this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      }
      // comments (": ping") and other fields carry nothing for us
    }
    return events;
  }
}

/** The `data` of each event of `body`; ends when the body ends. */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    await reader.cancel().catch(() => undefined); // tells the server at once that nobody reads any more
  }
}
