import { examples, settings } from "../state/server.ts";
import { Icon } from "./Icon.tsx";

/** The empty page invites: three questions that can be asked with one click. */
export function Empty({ pick }: { pick: (question: string) => void }) {
  const documents = settings.value?.documents ?? true;
  return (
    <div class="empty">
      <h1>{documents ? "Ask your documents." : "Ask the model."}</h1>
      <p>
        {documents
          ? "Answers name their sources. Judge or correct them: each correction counts at once, and teaches the next version."
          : "Judge or correct the answers: each correction teaches the next version."}
      </p>
      <ul class="examples">
        {examples.value.map((question) => (
          <li key={question}>
            <button type="button" onClick={() => pick(question)}>
              <Icon name="spark" /> <span>{question}</span>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
