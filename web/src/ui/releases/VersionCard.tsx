import { date, short } from "../../lib/format.ts";
import type { Version } from "../../lib/types.ts";
import { bitsOf, ROLES } from "./bits.ts";

interface Props {
  version: Version;
  aliases: string[];
  /** The highest bits per byte of all versions: the length of a full bar. */
  most: number;
  promote: () => void;
}

/** One version: what it is, how good it is, and the way to make it the one that answers. */
export function VersionCard({ version, aliases, most, promote }: Props) {
  const bits = bitsOf(version);
  const champion = aliases.includes("champion");
  return (
    <li class={`card version-card ${champion ? "champion" : ""}`}>
      <div class="version-name">
        <h3>{version.id}</h3>
        {aliases.map((alias) => (
          <span key={alias} class={`badge ${alias === "champion" ? "good" : ""}`}>
            {alias}
          </span>
        ))}
      </div>
      <div class="version-words">
        <span>{ROLES[version.role] ?? version.role}</span>
        <span class="hint">
          {version.parent && <>from {short(version.parent)} · </>}
          {date(version.created)} · <code title={version.digest}>{version.digest.slice(0, 10)}</code>
        </span>
      </div>
      <div class="version-bits">
        {bits === null ? (
          <span class="hint">not measured</span>
        ) : (
          <>
            <strong>{bits.toFixed(3)}</strong> <span class="hint">bits per byte</span>
            <svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
              <rect class="track" width="100" height="4" />
              <rect class="fill" width={(100 * bits) / most} height="4" />
            </svg>
          </>
        )}
      </div>
      <div class="version-act">
        {!champion && (
          <button type="button" class="button small" onClick={promote}>
            Promote
          </button>
        )}
      </div>
    </li>
  );
}
