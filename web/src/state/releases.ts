/** Versions, receipts, counts of feedback, and the job that makes the next version. */

import { signal } from "@preact/signals";
import { problemOf, request } from "../lib/api.ts";
import type { Job, Problem, Releases, Summary } from "../lib/types.ts";
import { tell } from "./page.ts";
import { loadModels } from "./server.ts";

export const releases = signal<Releases | null>(null);
export const summary = signal<Summary | null>(null);
export const trouble = signal<Problem | null>(null);
export const job = signal<Job | null>(null);

const POLL_MS = 1500;

export async function refresh(): Promise<void> {
  try {
    releases.value = await request<Releases>("v1/releases");
    trouble.value = null;
  } catch (error) {
    trouble.value = problemOf(error);
    return;
  }
  // the counts need another scope than the rest: without it the page does without them
  summary.value = await request<Summary>("v1/feedback/summary").catch(() => null);
}

/** Start the improvement and follow it to its end. Raises `ApiError` where it cannot be started. */
export async function improve(): Promise<void> {
  job.value = await request<Job>("v1/jobs", { method: "POST", body: { kind: "improve" } });
  while (job.value && ["running", "queued", "started"].includes(job.value.state)) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    job.value = await request<Job>(`v1/jobs/${encodeURIComponent(job.value.id)}`);
  }
  await changed();
}

export async function promote(version: string, because: string): Promise<void> {
  const path = `v1/releases/${encodeURIComponent(version)}/promote`;
  releases.value = await request<Releases>(path, { method: "POST", body: { because } });
  tell({ text: `${version} answers from now on.` });
  await changed();
}

export async function rollBack(because: string): Promise<void> {
  releases.value = await request<Releases>("v1/releases/rollback", { method: "POST", body: { because } });
  tell({ text: `Rolled back: ${releases.value.aliases["champion"] ?? "the version before"} answers again.` });
  await changed();
}

async function changed(): Promise<void> {
  await Promise.all([refresh(), loadModels().catch(() => undefined)]);
}
