import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { Turn } from "../lib/types.ts";
import { type Live, regenerate } from "../state/chat.ts";
import { show } from "../state/conversations.ts";
import { openPanel } from "../state/page.ts";
import { AnswerActions } from "./AnswerActions.tsx";
import { FinishedText, GrowingText } from "./AnswerText.tsx";
import { Badges } from "./Badges.tsx";
import { FeedbackForm, type FormKind } from "./FeedbackForm.tsx";
import { FeedbackState } from "./FeedbackState.tsx";
import { Sources } from "./Sources.tsx";
import { Trouble } from "./Trouble.tsx";

interface Props {
  turn: Turn;
  index: number;
  isLast: boolean;
  live: Live | null;
}

/** A question and its answer. */
export function TurnView({ turn, index, isLast, live }: Props) {
  const form = useSignal<FormKind | null>(null);
  const foot = useRef<HTMLDivElement>(null);
  const closeForm = () => {
    form.value = null;
    foot.current?.querySelector("button")?.focus();
  };
  const answer = live ? live.head.value : turn.answers[turn.shown];
  const openSource = (event: MouseEvent) => {
    const mark = (event.target as Element).closest<HTMLElement>("[data-source]");
    const source = mark && answer?.sources.find((s) => s.number === Number(mark.dataset["source"]));
    if (source) openPanel({ kind: "source", source });
  };
  return (
    <article class="turn" aria-label={`Question ${index + 1}`}>
      <div class="question">
        <span class="unseen">You asked: </span>
        {turn.question}
      </div>
      <div class="answer" aria-busy={live !== null}>
        <span class="unseen">The answer: </span>
        {/* the marks [1] in the text are buttons made outside of this tree */}
        <div class="prose" onClick={openSource}>
          {live ? <GrowingText live={live} /> : answer && <FinishedText answer={answer} />}
        </div>
        {answer?.error && !live && (
          <Trouble problem={answer.error} {...(isLast ? { retry: () => void regenerate() } : {})} />
        )}
        {answer && <Sources sources={answer.sources} />}
        {answer && !live && (answer.text || !answer.error) && (
          <>
            <div class="answer-foot" ref={foot}>
              <AnswerActions
                answer={answer}
                turn={turn}
                isLast={isLast}
                openForm={(kind) => (form.value = kind)}
                show={(shown) => show(index, shown)}
              />
              <Badges answer={answer} />
            </div>
            <FeedbackState answer={answer} />
            {form.value && <FeedbackForm answer={answer} kind={form.value} close={closeForm} />}
          </>
        )}
        {!answer && !live && <Trouble problem={UNANSWERED} retry={() => void regenerate()} />}
      </div>
    </article>
  );
}

/** The page was closed while the answer was being written. */
const UNANSWERED = { title: "This question was not answered.", hint: "The page was closed before the answer came." };
