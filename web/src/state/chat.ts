/** Asking: a question goes out, its answer grows on the page, at most one drawing per animation frame. */

import { signal } from "@preact/signals";
import { ApiError, chat, problemOf } from "../lib/api.ts";
import { type Block, GrowingMarkdown } from "../lib/blocks.ts";
import { SentenceCutter } from "../lib/sentences.ts";
import type { Answer, ChatChunk, Conversation, Turn } from "../lib/types.ts";
import { answered, asked, change, current } from "./conversations.ts";
import { say } from "./page.ts";
import { mode, model } from "./server.ts";

/** An answer that is being written. Each signal is read by the one component that draws it. */
export class Live {
  readonly frozen = signal<readonly Block[]>([]);
  readonly last = signal<Block | null>(null);
  /** Everything but the text; replaced when the first chunk brings sources and version. */
  readonly head = signal<Answer>(blank());
  readonly #markdown = new GrowingMarkdown();
  readonly #sentences = new SentenceCutter();
  readonly #abort = new AbortController();
  #waiting = "";
  #frame = 0;

  constructor(readonly conversation: Conversation) {}

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  stop(): void {
    this.#abort.abort();
  }

  /** Take a chunk; the page changes with the next frame. */
  take(chunk: ChatChunk): void {
    const choice = chunk.choices[0];
    const head = this.head.value;
    if (chunk.id !== head.id || chunk.sources) {
      this.head.value = {
        ...head,
        id: chunk.id,
        version: chunk.model,
        sources: chunk.sources ?? head.sources,
        mode: chunk.grounding?.mode ?? head.mode,
        found: chunk.grounding?.found ?? head.found,
      };
    }
    if (choice?.finish_reason) this.head.value = { ...this.head.value, finish: choice.finish_reason };
    const text = choice?.delta?.content;
    if (!text) return;
    this.#waiting += text;
    // a hidden tab draws no frames; its text waits for `finish`
    this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  #flush(): void {
    this.#frame = 0;
    const text = this.#waiting;
    this.#waiting = "";
    if (!text) return;
    this.#markdown.push(text);
    this.frozen.value = this.#markdown.frozen;
    this.last.value = this.#markdown.last;
    this.#tell(this.#sentences.push(text));
  }

  /** Only the answer that is looked at is read aloud. */
  #tell(words: string): void {
    if (this.conversation.id === current.peek().id) say(words);
  }

  /** The answer as it stands, with everything drawn. */
  finish(changes: Partial<Answer> = {}): Answer {
    cancelAnimationFrame(this.#frame);
    this.#flush();
    this.#tell(this.#sentences.finish());
    return { ...this.head.value, ...changes, text: this.#markdown.text };
  }

  get started(): boolean {
    return this.#markdown.text !== "" || this.#waiting !== "";
  }
}

function blank(): Answer {
  return {
    id: "", text: "", version: "", mode: mode.peek(), found: true, sources: [], finish: null, leftOut: 0, said: {},
  };
}

/** The answers that are being written, by conversation: one may go on while another is read. */
export const lives = signal<ReadonlyMap<string, Live>>(new Map());

function setLive(id: string, live: Live | null): void {
  const next = new Map(lives.value);
  if (live) next.set(id, live);
  else next.delete(id);
  lives.value = next;
}

/** Ask `question` in the open conversation. */
export async function ask(question: string): Promise<void> {
  const id = current.value.id;
  if (lives.value.has(id)) return;
  await change(id, (c) => asked(c, question));
  await answer(id);
}

/** Have the last question of the open conversation answered again. */
export async function regenerate(): Promise<void> {
  const id = current.value.id;
  if (!lives.value.has(id)) await answer(id);
}

export function stop(id = current.value.id): void {
  lives.value.get(id)?.stop();
}

async function answer(id: string): Promise<void> {
  const conversation = current.value;
  const live = new Live(conversation);
  setLive(id, live);
  history.replaceState(null, "", `#/chat/${id}`);
  let result: Answer;
  try {
    result = await converse(live, conversation);
  } catch (error) {
    result = live.signal.aborted
      ? live.finish({ finish: "abort" })
      : live.finish({ finish: "error", error: problemOf(error) });
    if (result.error) say(`${result.error.title} ${result.error.hint}`);
  }
  setLive(id, null);
  await change(id, (c) => answered(c, result));
}

/** Ask; a conversation that is too long for the model is asked again without its oldest turns. */
async function converse(live: Live, conversation: Conversation): Promise<Answer> {
  const earlier = conversation.turns.slice(0, -1).filter((turn) => turn.answers[turn.shown]?.text);
  const question = conversation.turns.at(-1)?.question ?? "";
  for (let keep = earlier.length; ; keep = Math.floor(keep / 2)) {
    const body = {
      model: model.value,
      messages: [...messages(earlier.slice(earlier.length - keep)), { role: "user", content: question }],
      grounding: mode.value,
      conversation: conversation.id,
      stream: true,
    };
    try {
      for await (const chunk of chat(body, live.signal)) live.take(chunk);
      return live.finish({ leftOut: earlier.length - keep });
    } catch (error) {
      const tooLong = error instanceof ApiError && error.code === "context_length_exceeded";
      if (!tooLong || keep === 0 || live.started) throw error;
    }
  }
}

function messages(turns: Turn[]): { role: string; content: string }[] {
  return turns.flatMap((turn) => [
    { role: "user", content: turn.question },
    { role: "assistant", content: turn.answers[turn.shown]?.text ?? "" },
  ]);
}
