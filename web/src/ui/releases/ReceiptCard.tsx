import { date } from "../../lib/format.ts";
import type { Receipt } from "../../lib/types.ts";
import { Icon } from "../Icon.tsx";
import { comparisonsOf, Interval } from "./Interval.tsx";

const VERDICTS = {
  promote: { words: "Promoted", icon: "check", tone: "good" },
  reject: { words: "Rejected", icon: "close", tone: "bad" },
  inconclusive: { words: "Inconclusive", icon: "search", tone: "warn" },
} as const;

/** Why a version was promoted, rejected or left undecided. */
export function ReceiptCard({ receipt }: { receipt: Receipt }) {
  const verdict = VERDICTS[receipt.verdict];
  const comparisons = comparisonsOf(receipt.results);
  const margin = typeof receipt.results["margin"] === "number" ? receipt.results["margin"] : null;
  const reach = Math.max(0.01, margin ?? 0, ...comparisons.flatMap((c) => [Math.abs(c.low), Math.abs(c.high)])) * 1.05;
  const human = receipt.decided_by !== "gate";
  return (
    <article class="card receipt">
      <header>
        <span class={`badge ${verdict.tone}`}>
          <Icon name={verdict.icon} size={14} /> {verdict.words}
        </span>
        <h3>
          {receipt.challenger || "No challenger"} <span class="hint">against</span> {receipt.champion}
        </h3>
        <time class="hint" dateTime={receipt.created}>
          {date(receipt.created)}
        </time>
      </header>
      <ul class="reasons">
        {receipt.reasons.map((reason) => (
          <li key={reason}>{reason}</li>
        ))}
      </ul>
      {comparisons.length > 0 && (
        <table class="intervals">
          <caption>
            Gain in bits per byte with its {confidence(receipt)} interval · right of the line is better
            {margin !== null && " · shaded: a loss that would be tolerated"}
          </caption>
          <tbody>
            {comparisons.map((c) => (
              <Interval key={c.name} comparison={c} reach={reach} margin={margin} />
            ))}
          </tbody>
        </table>
      )}
      <footer class="hint">{human ? `Decided by a person: ${receipt.decided_by.replace(/^human: /, "")}` : "Decided by the gate"}</footer>
    </article>
  );
}

function confidence(receipt: Receipt): string {
  const value = receipt.results["confidence"];
  return typeof value === "number" ? `${Math.round(value * 100)} %` : "95 %";
}
