/** One text, and what the model says of it. */

import { signal } from "@preact/signals";
import { problemOf, request } from "../lib/api.ts";
import type { Problem, Task, TextAnswer } from "../lib/types.ts";

export const answer = signal<{ task: Task; input: string; said: TextAnswer } | null>(null);
export const problem = signal<Problem | null>(null);
export const busy = signal(false);

/** Ask for `task` on one text; `more`: the languages of a translation. */
export async function ask(task: Task, input: string, more: Record<string, string>): Promise<void> {
  busy.value = true;
  problem.value = null;
  try {
    const body = { input, ...more };
    const found = await request<{ data: TextAnswer[] }>(`v1/${task}`, { method: "POST", body });
    answer.value = { task, input, said: found.data[0] ?? {} };
  } catch (error) {
    answer.value = null;
    problem.value = problemOf(error);
  } finally {
    busy.value = false;
  }
}
