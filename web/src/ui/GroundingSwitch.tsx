import type { Mode } from "../lib/types.ts";
import { chooseMode, mode, settings } from "../state/server.ts";

const MODES: { mode: Mode; words: string; narrow: string; title: string }[] = [
  {
    mode: "weights + documents",
    words: "Weights + documents",
    narrow: "Documents",
    title: "Look the question up in the documents first, and name the sources",
  },
  {
    mode: "weights only",
    words: "Weights only",
    narrow: "Weights",
    title: "What the model itself has learned, without looking anything up",
  },
];

/** From what the next answer is made: the weights alone, or the documents too. */
export function GroundingSwitch() {
  if (settings.value && !settings.value.documents) return null;
  return (
    <fieldset class="switch">
      <legend class="unseen">Answer from</legend>
      {MODES.map((each) => (
        <label key={each.mode} title={each.title}>
          <input
            type="radio"
            name="grounding"
            value={each.mode}
            aria-label={each.words}
            checked={mode.value === each.mode}
            onChange={() => chooseMode(each.mode)}
          />
          <span class="wide-words" aria-hidden="true">{each.words}</span>
          <span class="narrow-words" aria-hidden="true">{each.narrow}</span>
        </label>
      ))}
    </fieldset>
  );
}
