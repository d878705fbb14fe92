import { useSignal } from "@preact/signals";
import type { Task } from "../../lib/types.ts";
import { answer, ask, busy, problem } from "../../state/texts.ts";
import { connect, languages, models, textTasks, trouble } from "../../state/server.ts";
import { Trouble } from "../Trouble.tsx";
import { Said } from "./Said.tsx";

const NAMES: Partial<Record<Task, string>> = {
  translate: "Translate",
  summarize: "Summarize",
  "fill-mask": "Fill in words",
  classify: "Classify",
  tag: "Label words",
};
const HINTS: Partial<Record<Task, string>> = {
  translate: "A sentence or a paragraph.",
  summarize: "A text that is to be shorter.",
  "fill-mask": "Write [MASK] where a word is hidden: The [MASK] swims in the sea.",
  classify: "A text whose class is wanted.",
  tag: "A text whose words get labels.",
};

/** The page of a model that does not chat: a text goes in, what the model says of it comes out. */
export function TextsView() {
  const chosen = useSignal<Task | null>(null);
  const pair = useSignal(0);
  const text = useSignal("");
  const tasks = textTasks.value;
  const task = chosen.value && tasks.includes(chosen.value) ? chosen.value : (tasks[0] ?? null);
  const pairs = languages.value;
  const send = () => {
    if (!task || !text.value.trim() || busy.value) return;
    const named = task === "translate" ? pairs[pair.value] : undefined;
    void ask(task, text.value, named ? { source: named[0], target: named[1] } : {});
  };
  return (
    <main class="texts" id="main" tabIndex={-1}>
      <div class="column wide">
        <header class="page-head">
          <div>
            <h1>{task ? (NAMES[task] ?? task) : "This model has no page"}</h1>
            <p class="hint">{task ? HINTS[task] : only()}</p>
          </div>
        </header>
        {trouble.value && <Trouble problem={trouble.value} retry={() => void connect()} />}
        {tasks.length > 1 && (
          <div class="text-tasks" role="group" aria-label="What the model is asked for">
            {tasks.map((name) => (
              <button
                key={name}
                type="button"
                class="button"
                aria-pressed={name === task}
                onClick={() => {
                  chosen.value = name;
                  answer.value = problem.value = null;
                }}
              >
                {NAMES[name]}
              </button>
            ))}
          </div>
        )}
        {task && (
          <form
            class="card text-form"
            onSubmit={(event) => {
              event.preventDefault();
              send();
            }}
          >
            {task === "translate" && pairs.length > 0 && (
              <label class="text-pair">
                Languages
                <select value={pair.value} onChange={(event) => (pair.value = Number(event.currentTarget.value))}>
                  {pairs.map(([source, target], number) => (
                    <option key={`${source}-${target}`} value={number}>
                      {source} → {target}
                    </option>
                  ))}
                </select>
              </label>
            )}
            <textarea
              aria-label="Text"
              rows={5}
              value={text.value}
              placeholder={HINTS[task]}
              onInput={(event) => (text.value = event.currentTarget.value)}
              onKeyDown={(event) => {
                if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
              }}
            />
            <button type="submit" class="button primary" disabled={busy.value || !text.value.trim()}>
              {busy.value ? "Working …" : NAMES[task]}
            </button>
          </form>
        )}
        {problem.value && <Trouble problem={problem.value} retry={send} />}
        <div aria-live="polite">{answer.value && <Said {...answer.value} />}</div>
      </div>
    </main>
  );
}

function only(): string {
  const all = models.value.find((m) => m.id === "champion")?.tasks ?? [];
  return all.length ? `It is asked through the API: ${all.join(", ")}.` : "No version answers yet.";
}
