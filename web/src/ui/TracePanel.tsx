import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { problemOf, request } from "../lib/api.ts";
import { date, label, number, short } from "../lib/format.ts";
import type { Json, Problem, Trace, TraceLink } from "../lib/types.ts";
import { Trouble } from "./Trouble.tsx";

const NAMES: Record<string, string> = {
  answer: "The answer",
  feedback: "What was said of it",
  version: "Model version",
  run: "Training run",
  snapshot: "Feedback that it learned from",
  corpus: "Documents that it learned from",
  documents: "Documents",
  source: "Source",
  base: "Base model",
};

const ROLES: Record<string, string> = {
  base: "as it came, trained on nothing of ours",
  documents: "trained on the documents",
  feedback: "trained on the documents and on feedback",
};

/** The chain behind an answer, from its words back to the sources of what the model learned. */
export function TracePanel({ id }: { id: string }) {
  const trace = useSignal<Trace | null>(null);
  const problem = useSignal<Problem | null>(null);
  const load = async () => {
    problem.value = null;
    try {
      trace.value = await request<Trace>(`v1/trace/${encodeURIComponent(id)}`);
    } catch (error) {
      problem.value = problemOf(error);
    }
  };
  useEffect(() => void load(), []);
  return (
    <>
      <p class="hint">Each step came from the one below it.</p>
      {problem.value && <Trouble problem={problem.value} retry={() => void load()} />}
      <ol class="chain">
        {trace.value?.links.map((link) => <Step key={`${link.kind} ${link.id}`} link={link} />)}
      </ol>
    </>
  );
}

function Step({ link }: { link: TraceLink }) {
  const named = link.kind === "version" || link.kind === "source" || link.kind === "base";
  const facts = Object.entries(link.facts).filter(([, value]) => told(value));
  return (
    <li class="step" data-kind={link.kind}>
      <h3>
        {NAMES[link.kind] ?? label(link.kind)}{" "}
        {named ? <strong>{link.id}</strong> : <code title={link.id}>{link.id}</code>}
      </h3>
      {facts.length > 0 && (
        <dl class="facts">
          {facts.map(([key, value]) => (
            <div key={key}>
              <dt>{label(key)}</dt>
              <dd>{key === "role" && typeof value === "string" ? (ROLES[value] ?? value) : inWords(value)}</dd>
            </div>
          ))}
        </dl>
      )}
    </li>
  );
}

function told(value: Json): boolean {
  if (value === null || value === "") return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

/** A fact in words; what is long is folded. */
function inWords(value: Json) {
  if (typeof value === "number") return number(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string") {
    if (/^\d{4}-\d\d-\d\dT/.test(value)) return date(value);
    if (value.length <= 160) return /\s/.test(value) ? value : <span title={value}>{short(value)}</span>;
    return (
      <details>
        <summary>{value.slice(0, 100)}…</summary>
        {value}
      </details>
    );
  }
  const flat = Array.isArray(value) && value.every((v) => typeof v !== "object");
  if (flat) return value.map((v) => short(String(v))).join(", ");
  return (
    <details>
      <summary>{Array.isArray(value) ? `${value.length} entries` : Object.keys(value ?? {}).join(", ")}</summary>
      <pre>{JSON.stringify(value, null, 2)}</pre>
    </details>
  );
}
