import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { promote, refresh, releases, rollBack, trouble } from "../../state/releases.ts";
import { Icon } from "../Icon.tsx";
import { Trouble } from "../Trouble.tsx";
import { bitsOf } from "./bits.ts";
import { ImproveCard } from "./ImproveCard.tsx";
import { ReasonDialog } from "./ReasonDialog.tsx";
import { ReceiptCard } from "./ReceiptCard.tsx";
import { VersionCard } from "./VersionCard.tsx";

type Decision = { kind: "promote"; version: string } | { kind: "back" };

/** The versions, who answers now and why, and the decisions that a person can take. */
export function ReleasesView() {
  const decision = useSignal<Decision | null>(null);
  useEffect(() => void refresh(), []);
  const now = releases.value;
  const champion = now?.aliases["champion"];
  const newestFirst = (a: { created: string }, b: { created: string }) => b.created.localeCompare(a.created);
  const versions = [...(now?.versions ?? [])].sort(newestFirst);
  const receipts = [...(now?.receipts ?? [])].sort(newestFirst);
  const most = Math.max(...versions.map((v) => bitsOf(v) ?? 0), 0.001);
  return (
    <main class="releases" id="main" tabIndex={-1}>
      <div class="column wide">
        <header class="page-head">
          <div>
            <h1>Releases</h1>
            <p class="hint">
              {champion ? (
                <>
                  <strong>{champion}</strong> answers now.
                </>
              ) : (
                "No version answers yet."
              )}
            </p>
          </div>
          {versions.length > 1 && (
            <button type="button" class="button" onClick={() => (decision.value = { kind: "back" })}>
              <Icon name="back" /> Roll back
            </button>
          )}
        </header>
        {trouble.value && <Trouble problem={trouble.value} retry={() => void refresh()} />}
        {now && <ImproveCard />}
        {now && (
          <section aria-labelledby="versions">
            <h2 id="versions">Versions</h2>
            <ul class="version-list">
              {versions.map((version) => (
                <VersionCard
                  key={version.id}
                  version={version}
                  most={most}
                  aliases={Object.keys(now.aliases).filter((alias) => now.aliases[alias] === version.id)}
                  promote={() => (decision.value = { kind: "promote", version: version.id })}
                />
              ))}
            </ul>
          </section>
        )}
        {now && (
          <section aria-labelledby="receipts">
            <h2 id="receipts">Receipts</h2>
            {receipts.map((receipt) => (
              <ReceiptCard key={receipt.id} receipt={receipt} />
            ))}
            {!receipts.length && (
              <p class="hint">No challenger was judged yet. Correct some answers, then choose “Improve now”.</p>
            )}
          </section>
        )}
      </div>
      {decision.value && <Decide decision={decision.value} close={() => (decision.value = null)} />}
    </main>
  );
}

function Decide({ decision, close }: { decision: Decision; close: () => void }) {
  return decision.kind === "promote" ? (
    <ReasonDialog
      title={`Promote ${decision.version}?`}
      words={`${decision.version} will answer from now on. Running answers are finished by the version that began them.`}
      action={`Promote ${decision.version}`}
      run={(because) => promote(decision.version, because)}
      close={close}
    />
  ) : (
    <ReasonDialog
      title="Roll back?"
      words="The champion before the present one will answer again. No version is lost."
      action="Roll back"
      run={rollBack}
      close={close}
    />
  );
}
