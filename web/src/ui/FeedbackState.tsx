import { problemOf } from "../lib/api.ts";
import type { Answer } from "../lib/types.ts";
import { takeBack } from "../state/feedback.ts";
import { tell } from "../state/page.ts";
import { Icon } from "./Icon.tsx";

/** What the server confirmed of this reader's judgement, and what it is used for. */
export function FeedbackState({ answer }: { answer: Answer }) {
  const { said } = answer;
  if (!said.split) return null;
  const undo = () => {
    takeBack(answer).catch((error: unknown) => {
      const { title, hint } = problemOf(error);
      tell({ text: `Not taken back. ${title} ${hint}` });
    });
  };
  return (
    <p class="said" role="status">
      <Icon name="check" size={16} />
      <span>
        Saved · <strong>{said.split}</strong>.{" "}
        <span class="hint">
          {said.split === "train" ? "It teaches the next version." : "It judges the next version, and never teaches it."}
          {said.correction && said.inEffect && " Your correction answers similar questions from now on."}
        </span>
      </span>
      <button type="button" class="why" onClick={undo}>
        Take back
      </button>
    </p>
  );
}
