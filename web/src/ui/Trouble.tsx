import type { Problem } from "../lib/types.ts";
import { Icon } from "./Icon.tsx";

/** An error in words, with what can be done about it. */
export function Trouble({ problem, retry }: { problem: Problem; retry?: () => void }) {
  return (
    <div class="trouble" role="alert">
      <Icon name="alert" />
      <div>
        <strong>{problem.title}</strong> {problem.hint}
      </div>
      {retry && (
        <button type="button" class="button small" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}
