import { useSignal } from "@preact/signals";
import { problemOf } from "../../lib/api.ts";
import { plural } from "../../lib/format.ts";
import type { Problem } from "../../lib/types.ts";
import { improve, job, summary } from "../../state/releases.ts";
import { Icon } from "../Icon.tsx";
import { Trouble } from "../Trouble.tsx";

/** What people said so far, and the button that makes the next version of it. */
export function ImproveCard() {
  const problem = useSignal<Problem | null>(null);
  const running = job.value !== null && ["running", "queued", "started"].includes(job.value.state);
  const start = async () => {
    problem.value = null;
    try {
      await improve();
    } catch (error) {
      job.value = null;
      problem.value = problemOf(error);
    }
  };
  return (
    <section class="card improve" aria-label="Feedback and improvement">
      <Counts />
      <div class="improve-act">
        <button type="button" class="button primary" disabled={running} onClick={() => void start()}>
          <Icon name="spark" /> {running ? "Improving…" : "Improve now"}
        </button>
        <div>
          <p class="hint">
            Trains a challenger on all accepted feedback and lets the gate judge it on what was held out. It takes
            minutes; the champion goes on answering.
          </p>
          <div role="status">{job.value && <JobState />}</div>
        </div>
      </div>
      {problem.value && <Trouble problem={problem.value} retry={() => void start()} />}
    </section>
  );
}

function JobState() {
  const now = job.value;
  if (!now) return null;
  const words =
    now.state === "failed"
      ? "The improvement failed. What it said last:"
      : ["succeeded", "done"].includes(now.state)
        ? "Done. Its receipt stands below."
        : "Training and judging…";
  return (
    <div class={`job ${now.state}`}>
      {words}
      {now.state === "failed" && now.said?.length ? <pre>{now.said.slice(-6).join("\n")}</pre> : null}
    </div>
  );
}

function Counts() {
  const now = summary.value;
  if (!now) return null;
  const judged = now.train + now.held_out;
  return (
    <div class="counts">
      <Count value={now.interactions} words="answers" />
      <Count value={now.thumbs_up} words="good" />
      <Count value={now.thumbs_down} words="bad" />
      <Count value={now.corrections} words="corrected" />
      <div class="split" title={`${plural(now.train, "judged answer")} to learn from, ${now.held_out} held out`}>
        <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
          <rect class="held-out" width={judged ? 100 : 0} height="8" />
          <rect class="train" width={judged ? (100 * now.train) / judged : 0} height="8" />
        </svg>
        <span>
          <i class="key train" /> {now.train} train <i class="key held-out" /> {now.held_out} held-out
        </span>
      </div>
    </div>
  );
}

function Count({ value, words }: { value: number; words: string }) {
  return (
    <div class="count">
      <strong>{value.toLocaleString()}</strong> {words}
    </div>
  );
}
