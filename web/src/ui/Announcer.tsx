import { spoken } from "../state/page.ts";

/** What screen readers hear: finished sentences of the answer, and what went wrong. */
export function Announcer() {
  return (
    <div class="unseen" role="log" aria-live="polite" aria-label="Answers, read aloud">
      {spoken.value.map((line) => (
        <p key={line.key}>{line.text}</p>
      ))}
    </div>
  );
}
