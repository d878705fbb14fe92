import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { problemOf } from "../../lib/api.ts";
import type { Problem } from "../../lib/types.ts";
import { Dialog } from "../Dialog.tsx";
import { Trouble } from "../Trouble.tsx";

interface Props {
  title: string;
  /** What will happen, in a sentence. */
  words: string;
  action: string;
  run: (because: string) => Promise<void>;
  close: () => void;
}

/** A person decides, and says why: the reason is kept with the decision. */
export function ReasonDialog({ title, words, action, run, close }: Props) {
  const reason = useRef<HTMLTextAreaElement>(null);
  const problem = useSignal<Problem | null>(null);
  const busy = useSignal(false);
  const decide = async () => {
    const because = reason.current?.value.trim();
    if (!because) return;
    busy.value = true;
    try {
      await run(because);
      close();
    } catch (error) {
      problem.value = problemOf(error);
    } finally {
      busy.value = false;
    }
  };
  return (
    <Dialog title={title} onClose={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void decide();
        }}
      >
        <p>{words}</p>
        <label class="field">
          <span>Reason</span>
          <textarea ref={reason} rows={3} maxLength={2000} required autofocus />
        </label>
        {problem.value && <Trouble problem={problem.value} />}
        <div class="dialog-actions">
          <button type="button" class="button" onClick={close}>
            Cancel
          </button>
          <button type="submit" class="button primary" disabled={busy.value}>
            {action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
