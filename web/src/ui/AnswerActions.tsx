import { useSignal } from "@preact/signals";
import { problemOf } from "../lib/api.ts";
import type { Answer, Turn } from "../lib/types.ts";
import { regenerate } from "../state/chat.ts";
import { takeBack, vote } from "../state/feedback.ts";
import { openPanel, tell } from "../state/page.ts";
import { CopyButton } from "./CopyButton.tsx";
import type { FormKind } from "./FeedbackForm.tsx";
import { IconButton } from "./IconButton.tsx";

interface Props {
  answer: Answer;
  turn: Turn;
  isLast: boolean;
  openForm: (kind: FormKind | null) => void;
  show: (answer: number) => void;
}

/** What can be done with a finished answer. */
export function AnswerActions({ answer, turn, isLast, openForm, show }: Props) {
  const busy = useSignal(false);
  const judge = async (thumb: boolean) => {
    busy.value = true;
    try {
      if (answer.said.thumb === thumb) {
        await takeBack(answer);
        openForm(null);
      } else {
        await vote(answer, thumb);
        openForm(thumb ? null : "reasons");
      }
    } catch (error) {
      const { title, hint } = problemOf(error);
      tell({ text: `Not saved. ${title} ${hint}`, action: { label: "Try again", run: () => void judge(thumb) } });
    } finally {
      busy.value = false;
    }
  };
  const kept = answer.id !== "" && !answer.error;
  return (
    <div class="actions" role="group" aria-label="About this answer">
      {turn.answers.length > 1 && (
        <span class="versions-switch">
          <IconButton icon="left" name="Previous answer" disabled={turn.shown === 0} onClick={() => show(turn.shown - 1)} />
          <span aria-label={`Answer ${turn.shown + 1} of ${turn.answers.length}`}>
            {turn.shown + 1}/{turn.answers.length}
          </span>
          <IconButton
            icon="right"
            name="Next answer"
            disabled={turn.shown === turn.answers.length - 1}
            onClick={() => show(turn.shown + 1)}
          />
        </span>
      )}
      {kept && (
        <>
          <IconButton
            icon="up"
            name="Good answer"
            pressed={answer.said.thumb === true}
            disabled={busy.value}
            onClick={() => void judge(true)}
          />
          <IconButton
            icon="down"
            name="Bad answer"
            pressed={answer.said.thumb === false}
            disabled={busy.value}
            onClick={() => void judge(false)}
          />
          <IconButton icon="pen" name="Correct this answer" onClick={() => openForm("correction")} />
        </>
      )}
      {answer.text && <CopyButton text={answer.text} name="Copy answer" />}
      {isLast && !answer.error && <IconButton icon="redo" name="Answer again" onClick={() => void regenerate()} />}
      {kept && (
        <button type="button" class="why" onClick={() => openPanel({ kind: "trace", id: answer.id })}>
          Why this answer?
        </button>
      )}
    </div>
  );
}
