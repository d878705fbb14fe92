import type { Guess, Task, TextAnswer } from "../../lib/types.ts";

/** What the model said of a text. */
export function Said({ task, input, said }: { task: Task; input: string; said: TextAnswer }) {
  return (
    <section class="card text-said" aria-label="Answer">
      {said.text !== undefined && <p class="text-written">{said.text || "(nothing)"}</p>}
      {said.masks?.map((guesses, number) => (
        <div key={number}>
          <h2>{said.masks && said.masks.length > 1 ? `Mask ${number + 1}` : "Likeliest words"}</h2>
          <Bars rows={guesses.map((guess: Guess) => [guess.word, guess.probability])} />
        </div>
      ))}
      {said.probabilities && (
        <Bars rows={Object.entries(said.probabilities).sort((a, b) => b[1] - a[1])} />
      )}
      {said.words && task === "tag" && (
        <p class="text-tagged">
          {said.words.map((word, number) => {
            const before = number ? (said.words?.[number - 1]?.end ?? 0) : 0;
            return (
              <>
                {[...input].slice(before, word.begin).join("")}
                <mark title={`${(100 * word.probability).toFixed(0)} %`}>
                  {word.word} <small>{word.label}</small>
                </mark>
              </>
            );
          })}
        </p>
      )}
    </section>
  );
}

/** Names with their probabilities, drawn as bars. */
function Bars({ rows }: { rows: [string, number][] }) {
  return (
    <ul class="bars">
      {rows.map(([name, share]) => (
        <li key={name}>
          <span>{name}</span>
          <meter min={0} max={1} value={share} aria-label={name} />
          <span class="share">{(100 * share).toFixed(1)} %</span>
        </li>
      ))}
    </ul>
  );
}
