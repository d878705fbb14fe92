import { useComputed } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { blocksOf } from "../lib/blocks.ts";
import type { Answer } from "../lib/types.ts";
import type { Live } from "../state/chat.ts";
import { BlockView } from "./BlockView.tsx";

/** A finished answer. */
export function FinishedText({ answer }: { answer: Answer }) {
  const blocks = useMemo(() => blocksOf(answer.text), [answer.text]);
  return (
    <>
      {blocks.map((block) => (
        <BlockView key={block.key} block={block} sources={answer.sources.length} />
      ))}
    </>
  );
}

/** An answer that grows: the finished blocks, drawn when one is added, and the last one, drawn with each frame. */
export function GrowingText({ live }: { live: Live }) {
  const sources = useComputed(() => live.head.value.sources.length);
  return (
    <>
      {live.frozen.value.map((block) => (
        <BlockView key={block.key} block={block} sources={sources.value} />
      ))}
      <LastBlock live={live} />
    </>
  );
}

function LastBlock({ live }: { live: Live }) {
  const block = live.last.value;
  if (!block) return live.frozen.value.length ? null : <Thinking />;
  return <BlockView key={block.key} block={block} sources={live.head.value.sources.length} growing />;
}

function Thinking() {
  return (
    <p class="thinking">
      <span class="unseen">The answer is on its way</span>
      <span class="dot" />
      <span class="dot" />
      <span class="dot" />
    </p>
  );
}
