/** The one door to the server: JSON and event streams, API key, errors in words. */

import { events } from "./sse.ts";
import type { ChatChunk, Problem } from "./types.ts";

const KEY = "lamina.key";

/** A request that did not succeed; `problem` is ready to be shown. */
export class ApiError extends Error {
  constructor(
    readonly problem: Problem,
    readonly status: number,
    readonly code: string,
  ) {
    super(problem.title);
  }
}

/** `refused`: the key that was sent was not accepted. */
type AskForKey = (refused: boolean) => Promise<string | null>;
let askForKey: AskForKey = async () => null;

/** Who is asked for an API key when the server wants one; null: the reader declined. */
export function onKeyWanted(ask: AskForKey): void {
  askForKey = ask;
}

/** Forget the key of this tab. */
export function forgetKey(): void {
  sessionStorage.removeItem(KEY);
}

export function hasKey(): boolean {
  return sessionStorage.getItem(KEY) !== null;
}

interface Options {
  method?: "GET" | "POST";
  body?: unknown;
  signal?: AbortSignal;
}

async function send(path: string, { method = "GET", body, signal }: Options): Promise<Response> {
  for (;;) {
    const headers: Record<string, string> = {};
    const key = sessionStorage.getItem(KEY);
    if (key) headers["authorization"] = `Bearer ${key}`;
    const init: RequestInit = { method, headers, cache: "no-store" };
    if (body !== undefined) {
      headers["content-type"] = "application/json";
      init.body = JSON.stringify(body);
    }
    if (signal) init.signal = signal;
    const response = await fetch(path, init).catch((error: unknown) => {
      if (signal?.aborted) throw error;
      throw new ApiError(
        { title: "The server cannot be reached.", hint: "Is it still running? Your text is kept." },
        0,
        "unreachable",
      );
    });
    if (response.ok) return response;
    if (response.status === 401) {
      const given = await askForKey(key !== null);
      if (given) {
        sessionStorage.setItem(KEY, given);
        continue;
      }
    }
    throw await failure(response);
  }
}

async function failure(response: Response): Promise<ApiError> {
  const body: unknown = await response.json().catch(() => null);
  return errorOf(body, response.status);
}

/** OpenAI's error envelope, in words. */
export function errorOf(body: unknown, status: number): ApiError {
  const error = (body as { error?: { message?: string; code?: string } } | null)?.error;
  const code = error?.code ?? "";
  return new ApiError(inWords(error?.message ?? "", code, status), status, code);
}

function inWords(message: string, code: string, status: number): Problem {
  const said = message ? message.charAt(0).toUpperCase() + message.slice(1) : "";
  if (status === 401) return { title: "This server wants an API key.", hint: "Enter one to go on.", code };
  if (status === 403) return { title: "This key does not allow that.", hint: said, code };
  if (status === 404) return { title: "It is not there any more.", hint: said, code };
  if (status === 429 || status === 503) return { title: "The server is busy.", hint: said || "Try again shortly.", code };
  if (code === "context_length_exceeded") {
    return { title: "The question is longer than the model can read.", hint: "Shorten it, or start a new chat.", code };
  }
  if (status >= 500) return { title: "The server could not do that.", hint: said || "Its log has the reason.", code };
  return { title: "The server did not accept that.", hint: said, code };
}

/** JSON from the server. Raises `ApiError`. */
export async function request<T>(path: string, options: Options = {}): Promise<T> {
  const response = await send(path, options);
  return (await response.json()) as T;
}

/** The chunks of a chat completion. Raises `ApiError`, also for an error in mid-stream or a stream that was cut. */
export async function* chat(body: unknown, signal: AbortSignal): AsyncGenerator<ChatChunk> {
  const response = await send("v1/chat/completions", { method: "POST", body, signal });
  if (!response.body) throw errorOf(null, 502);
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data) as ChatChunk & { error?: unknown };
    if (chunk.error) throw errorOf(chunk, 500);
    yield chunk;
  }
  throw new ApiError({ title: "The connection was lost.", hint: "The answer is not complete." }, 0, "cut");
}

/** What to show for anything that was thrown. */
export function problemOf(error: unknown): Problem {
  if (error instanceof ApiError) return error.problem;
  return { title: "Something went wrong in this page.", hint: error instanceof Error ? error.message : "" };
}
