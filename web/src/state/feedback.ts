/** Judgements on their way to the server; what is shown as saved was confirmed by it. */

import { request } from "../lib/api.ts";
import type { Answer, FeedbackReply, Judgement, Reason } from "../lib/types.ts";
import { judged } from "./conversations.ts";

interface Body {
  kind: "boolean" | "correction";
  value: boolean | string | null;
  reasons?: Reason[];
  comment?: string;
}

function post(target: string, body: Body): Promise<FeedbackReply> {
  return request<FeedbackReply>("v1/feedback", { method: "POST", body: { target, ...body } });
}

/** A thumb up or down. Raises `ApiError`. */
export async function vote(answer: Answer, thumb: boolean): Promise<void> {
  const reply = await post(answer.id, { kind: "boolean", value: thumb });
  const said: Judgement = { ...answer.said, thumb, split: reply.split };
  if (thumb) delete said.reasons;
  await judged(answer.id, said);
}

/** Take everything back that was said of the answer. Raises `ApiError`. */
export async function takeBack(answer: Answer): Promise<void> {
  if (answer.said.thumb !== undefined) await post(answer.id, { kind: "boolean", value: null });
  if (answer.said.correction !== undefined) await post(answer.id, { kind: "correction", value: null });
  await judged(answer.id, {});
}

/** What the form holds. */
export interface Said {
  reasons: Reason[];
  comment: string;
  correction: string;
}

/** Reasons, comment and a better answer, as far as they were given. Raises `ApiError`. */
export async function explain(answer: Answer, { reasons, comment, correction }: Said): Promise<void> {
  let said: Judgement = { ...answer.said };
  if (said.thumb === false || reasons.length || comment) {
    const body: Body = { kind: "boolean", value: false, reasons };
    if (comment) body.comment = comment;
    const reply = await post(answer.id, body);
    said = { ...said, thumb: false, reasons, comment, split: reply.split };
    await judged(answer.id, said);
  }
  if (correction && correction !== (answer.said.correction ?? answer.text)) {
    const reply = await post(answer.id, { kind: "correction", value: correction });
    said = { ...said, correction, split: reply.split, inEffect: reply.in_effect };
    await judged(answer.id, said);
  }
}
