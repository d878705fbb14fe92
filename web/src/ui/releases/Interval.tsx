import { signed } from "../../lib/format.ts";
import type { Json } from "../../lib/types.ts";

export interface Comparison {
  /** Must get better, or only must not get worse by more than the margin. */
  aim: "better" | "not worse";
  name: string;
  mean: number;
  low: number;
  high: number;
  items: number;
  champion: number;
  challenger: number;
}

const WORDS: Record<string, string> = {
  feedback: "Held-out feedback",
  learned: "Earlier lessons",
  documents: "Held-out documents",
};

/** The comparisons that a receipt's results hold, in the order of their weight. */
export function comparisonsOf(results: Record<string, Json>): Comparison[] {
  return Object.keys(WORDS).flatMap((key) => {
    const facts = results[key];
    if (!facts || typeof facts !== "object" || Array.isArray(facts)) return [];
    const gain = facts["improvement"];
    if (!gain || typeof gain !== "object" || Array.isArray(gain)) return [];
    const n = (value: Json | undefined) => (typeof value === "number" ? value : 0);
    return [
      {
        aim: key === "feedback" ? "better" : "not worse",
        name: WORDS[key] ?? key,
        mean: n(gain["mean"]),
        low: n(gain["low"]),
        high: n(gain["high"]),
        items: n(facts["items"]),
        champion: n(facts["champion"]),
        challenger: n(facts["challenger"]),
      },
    ];
  });
}

const WIDTH = 440;
const HEIGHT = 28;

interface Props {
  comparison: Comparison;
  /** Half the width of the common scale, bits per byte. */
  reach: number;
  margin: number | null;
}

/** A confidence interval on a common scale: left of the line is worse, right of it better. */
export function Interval({ comparison, reach, margin }: Props) {
  const x = (value: number) => WIDTH / 2 + (Math.max(-1, Math.min(1, value / reach)) * (WIDTH - 12)) / 2;
  const { aim, name, mean, low, high } = comparison;
  const line = aim === "better" ? 0 : -(margin ?? 0);
  const side = low > line ? "better" : high < line ? "worse" : "open";
  const words = `${signed(mean)} [${signed(low)}, ${signed(high)}]`;
  return (
    <tr class={`interval ${side}`}>
      <th scope="row">
        {name} <span class="hint">{comparison.items ? `${comparison.items} items` : ""}</span>
      </th>
      <td>
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`${name}: gain ${words} bits per byte`}>
          {margin !== null && (
            <rect class="margin" x={x(-margin)} y="4" width={x(0) - x(-margin)} height={HEIGHT - 8} />
          )}
          <line class="zero" x1={x(0)} x2={x(0)} y1="2" y2={HEIGHT - 2} />
          <line class="range" x1={x(low)} x2={x(high)} y1={HEIGHT / 2} y2={HEIGHT / 2} />
          <circle class="mean" cx={x(mean)} cy={HEIGHT / 2} r="4.5" />
        </svg>
      </td>
      <td class="figure">{words}</td>
    </tr>
  );
}
