import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { problemOf, request } from "../lib/api.ts";
import { locate } from "../lib/passage.ts";
import type { Document, Problem, Source } from "../lib/types.ts";
import { titleOf } from "./Sources.tsx";
import { Trouble } from "./Trouble.tsx";

/** A source as a whole: the document with the passage marked, or the correction with its question. */
export function SourcePanel({ source }: { source: Source }) {
  const document = useSignal<Document | null>(null);
  const problem = useSignal<Problem | null>(null);
  const load = async () => {
    problem.value = null;
    try {
      document.value = await request<Document>(`v1/documents/${encodeURIComponent(source.document_id)}`);
    } catch (error) {
      problem.value = problemOf(error);
    }
  };
  useEffect(() => void load(), []);
  return (
    <>
      <header class="source-head">
        <h3>{source.kind === "correction" ? "A reader's correction" : (document.value?.title ?? titleOf(source))}</h3>
        <Facts source={source} document={document.value} />
      </header>
      {problem.value && <Trouble problem={problem.value} retry={() => void load()} />}
      {document.value ? (
        source.kind === "correction" ? (
          <Correction document={document.value} asked={document.value.question || source.title} />
        ) : (
          <Text document={document.value} source={source} />
        )
      ) : (
        // until the document is there, and if it never comes, the passage that the model saw
        <blockquote class="document">{source.passage}</blockquote>
      )}
    </>
  );
}

/** Whose it is and under which licence, in a line. */
function Facts({ source, document }: { source: Source; document: Document | null }) {
  const url = document?.url ?? source.url;
  const license = document?.license ?? source.license;
  return (
    <p class="source-facts">
      {document?.author && <span>{document.author}</span>}
      {document?.created && <span>{new Date(document.created).getFullYear()}</span>}
      <span>{document?.source ?? source.source}</span>
      {license && <span>{license}</span>}
      {url && (
        <span>
          {/^https?:\/\//i.test(url) ? (
            <a href={url} target="_blank" rel="noopener noreferrer nofollow">
              {url.replace(/^https?:\/\/(www\.)?/, "")}
            </a>
          ) : (
            url
          )}
        </span>
      )}
    </p>
  );
}

function Text({ document, source }: { document: Document; source: Source }) {
  const mark = useRef<HTMLElement>(null);
  const place = locate(document.text, source.passage, source.start);
  useEffect(() => mark.current?.scrollIntoView({ block: "center" }), []);
  if (!place) {
    return (
      <>
        <p class="hint">The document has changed since; this is the passage that the model saw:</p>
        <blockquote class="document">
          <mark>{source.passage}</mark>
        </blockquote>
        <div class="document">{document.text}</div>
      </>
    );
  }
  const [start, end] = place;
  return (
    <div class="document">
      {document.text.slice(0, start)}
      <mark ref={mark}>{document.text.slice(start, end)}</mark>
      {document.text.slice(end)}
    </div>
  );
}

function Correction({ document, asked }: { document: Document; asked: string | null }) {
  return (
    <div class="corrected">
      {asked && <h4>The question</h4>}
      {asked && <p class="document">{asked}</p>}
      <h4>The corrected answer</h4>
      <div class="document">
        <mark>{document.text}</mark>
      </div>
    </div>
  );
}
