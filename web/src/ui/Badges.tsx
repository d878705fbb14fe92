import type { Answer } from "../lib/types.ts";
import { Icon } from "./Icon.tsx";

/** What must be known of an answer at a glance: where it comes from, and whether it is whole. */
export function Badges({ answer }: { answer: Answer }) {
  const corrected = answer.sources.some((source) => source.kind === "correction");
  return (
    <>
      {corrected && (
        <span class="badge good" title="A reader corrected the answer to a similar question">
          <Icon name="check" size={14} /> From a correction
        </span>
      )}
      {answer.mode === "weights + documents" && !answer.found && answer.version && (
        <span class="badge" title="Nothing relevant was found; the answer rests on the weights alone">
          Not in the documents
        </span>
      )}
      {answer.mode === "weights only" && <span class="badge">Weights only</span>}
      {answer.finish === "abort" && <span class="badge warn">Stopped</span>}
      {answer.finish === "length" && <span class="badge warn">Cut at the length limit</span>}
      {answer.leftOut > 0 && (
        <span class="badge warn" title="The conversation is longer than the model's context">
          Earlier turns left out
        </span>
      )}
      {answer.version && (
        <span class="version" title="Model version">
          {answer.version}
        </span>
      )}
    </>
  );
}
