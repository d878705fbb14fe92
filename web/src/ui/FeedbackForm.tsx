import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { problemOf } from "../lib/api.ts";
import { type Answer, type Problem, type Reason, REASONS } from "../lib/types.ts";
import { explain } from "../state/feedback.ts";
import { say } from "../state/page.ts";
import { Trouble } from "./Trouble.tsx";

export type FormKind = "reasons" | "correction";

const WORDS: Record<Reason, string> = {
  wrong: "Wrong",
  incomplete: "Incomplete",
  unsafe: "Unsafe",
  format: "Badly formatted",
  unwelcome: "Unwelcome",
  other: "Other",
};

/** Reasons, a comment, and the answer that should have come; seeded with the answer that came. */
export function FeedbackForm({ answer, kind, close }: { answer: Answer; kind: FormKind; close: () => void }) {
  const seed = answer.said.correction ?? answer.text;
  const reasons = useSignal<Reason[]>(answer.said.reasons ?? []);
  const comment = useSignal(answer.said.comment ?? "");
  const correction = useSignal(seed);
  const problem = useSignal<Problem | null>(null);
  const busy = useSignal(false);
  const form = useRef<HTMLFormElement>(null);
  const editor = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    const first = kind === "correction" ? editor.current : form.current?.querySelector<HTMLElement>("input");
    first?.focus();
    form.current?.scrollIntoView({ block: "nearest" });
  }, [kind]);
  const changed = correction.value.trim() !== "" && correction.value.trim() !== seed.trim();
  const something = changed || reasons.value.length > 0 || comment.value.trim() !== "";
  const save = async () => {
    busy.value = true;
    problem.value = null;
    try {
      const better = changed ? correction.value.trim() : "";
      await explain(answer, { reasons: reasons.value, comment: comment.value.trim(), correction: better });
      say("Your feedback is saved.");
      close();
    } catch (error) {
      problem.value = problemOf(error);
    } finally {
      busy.value = false;
    }
  };
  const toggle = (reason: Reason) => {
    const now = reasons.value;
    reasons.value = now.includes(reason) ? now.filter((r) => r !== reason) : [...now, reason];
  };
  return (
    <form
      ref={form}
      class="feedback"
      aria-label="Feedback on this answer"
      onSubmit={(event) => {
        event.preventDefault();
        if (something) void save();
      }}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.stopPropagation();
        close();
      }}
    >
      <fieldset>
        <legend>What was not good?</legend>
        <div class="chips">
          {REASONS.map((reason) => (
            <label class="chip" key={reason}>
              <input type="checkbox" checked={reasons.value.includes(reason)} onChange={() => toggle(reason)} />
              <span>{WORDS[reason]}</span>
            </label>
          ))}
        </div>
      </fieldset>
      <label class="field">
        <span>The answer that should have come</span>
        <textarea
          ref={editor}
          rows={Math.min(12, Math.max(4, Math.ceil(seed.length / 80)))}
          value={correction.value}
          onInput={(event) => (correction.value = event.currentTarget.value)}
        />
      </label>
      <label class="field">
        <span>
          Comment <em>optional</em>
        </span>
        <input
          type="text"
          maxLength={2000}
          value={comment.value}
          onInput={(event) => (comment.value = event.currentTarget.value)}
        />
      </label>
      {problem.value && <Trouble problem={problem.value} />}
      <div class="form-foot">
        <p class="hint">
          A correction answers similar questions at once, and teaches the next version or is held out to judge it.
        </p>
        <button type="button" class="button" onClick={close}>
          Cancel
        </button>
        <button type="submit" class="button primary" disabled={!something || busy.value}>
          {busy.value ? "Saving…" : "Save"}
        </button>
      </div>
    </form>
  );
}
