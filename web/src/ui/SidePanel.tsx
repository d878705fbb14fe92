import { useEffect, useRef } from "preact/hooks";
import { closePanel, type Panel } from "../state/page.ts";
import { IconButton } from "./IconButton.tsx";
import { SourcePanel } from "./SourcePanel.tsx";
import { TracePanel } from "./TracePanel.tsx";

/** Right: a source, or the chain behind an answer. */
export function SidePanel({ panel }: { panel: Panel }) {
  const title = useRef<HTMLHeadingElement>(null);
  useEffect(() => title.current?.focus(), [panel]);
  const key = panel.kind === "source" ? `${panel.source.document_id} ${panel.source.start}` : panel.id;
  return (
    <aside class="panel" aria-labelledby="panel-title">
      <header class="panel-head">
        <h2 id="panel-title" tabIndex={-1} ref={title}>
          {panel.kind === "source" ? `Source ${panel.source.number}` : "Why this answer?"}
        </h2>
        <IconButton icon="close" name="Close (Esc)" onClick={closePanel} />
      </header>
      <div class="panel-body" tabIndex={0} role="region" aria-labelledby="panel-title">
        {panel.kind === "source" ? <SourcePanel key={key} source={panel.source} /> : <TracePanel key={key} id={panel.id} />}
      </div>
    </aside>
  );
}
