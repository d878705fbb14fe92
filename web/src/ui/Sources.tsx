import type { Source } from "../lib/types.ts";
import { openPanel, panel } from "../state/page.ts";

/** The numbered sources under an answer. */
export function Sources({ sources }: { sources: Source[] }) {
  if (!sources.length) return null;
  const shown = panel.value?.kind === "source" ? panel.value.source : null;
  return (
    <ul class="sources" aria-label="Sources">
      {sources.map((source) => (
        <li key={source.number}>
          <button
            type="button"
            class={`source ${source.kind}`}
            aria-pressed={shown === source}
            onClick={() => openPanel({ kind: "source", source })}
          >
            <span class="source-number">{source.number}</span>
            <span class="source-words">
              <span class="source-title">{source.kind === "correction" ? "Correction" : titleOf(source)}</span>
              <span class="source-where">{whereOf(source)}</span>
            </span>
          </button>
        </li>
      ))}
    </ul>
  );
}

export function titleOf(source: Source): string {
  return source.title || source.url || source.document_id;
}

function whereOf(source: Source): string {
  if (source.kind === "correction") return source.title && source.title !== "Correction" ? source.title : "by a reader";
  return [source.source, source.license].filter(Boolean).join(" · ");
}
