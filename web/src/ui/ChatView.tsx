import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ask, lives } from "../state/chat.ts";
import { current, isEmpty } from "../state/conversations.ts";
import { connect, trouble } from "../state/server.ts";
import { Composer } from "./Composer.tsx";
import { Empty } from "./Empty.tsx";
import { IconButton } from "./IconButton.tsx";
import { Trouble } from "./Trouble.tsx";
import { TurnView } from "./TurnView.tsx";

/** How near to the end (px) the reader must be for the page to follow the growing answer. */
const NEAR = 48;

/** Middle: the conversation, and where the next question is written. */
export function ChatView() {
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const away = useSignal(false);
  const following = useRef(true);
  const seen = useRef(0);
  const growing = useRef({ live: false, until: 0 });
  const conversation = current.value;
  const live = lives.value.get(conversation.id) ?? null;
  if (growing.current.live !== (live !== null)) {
    // the foot of an answer comes just after its last word, and is followed too
    growing.current = { live: live !== null, until: performance.now() + 500 };
  }
  const toEnd = () => {
    const place = scroller.current;
    if (place) place.scrollTop = place.scrollHeight;
    following.current = true;
    away.value = false;
  };
  useEffect(() => {
    if (!content.current) return;
    const observer = new ResizeObserver(() => {
      const { live, until } = growing.current;
      if (following.current && (live || performance.now() < until)) toEnd();
    });
    observer.observe(content.current);
    return () => observer.disconnect();
  }, []);
  useEffect(toEnd, [conversation.id, conversation.turns.length]);
  const onScroll = () => {
    const place = scroller.current;
    if (!place) return;
    const left = place.scrollHeight - place.scrollTop - place.clientHeight;
    // only the reader scrolls up; a growing answer moves the end away without that
    if (left < NEAR) following.current = true;
    else if (place.scrollTop < seen.current) following.current = false;
    seen.current = place.scrollTop;
    away.value = left > 4 * NEAR;
  };
  return (
    <main class="chat" id="main" tabIndex={-1}>
      <div class="scroller" ref={scroller} onScroll={onScroll}>
        <div class="column" ref={content}>
          {trouble.value && <Trouble problem={trouble.value} retry={() => void connect()} />}
          {isEmpty.value && !live && <Empty pick={(question) => void ask(question)} />}
          {conversation.turns.map((turn, index) => {
            const isLast = index === conversation.turns.length - 1;
            return (
              <TurnView
                key={`${conversation.id} ${index}`}
                turn={turn}
                index={index}
                isLast={isLast}
                live={isLast ? live : null}
              />
            );
          })}
        </div>
        {/* inside of the scroller, so that it stands in one line with the answers however wide the scroll bar is */}
        <div class="dock">
          {away.value && <IconButton icon="arrow" name="To the end" class="to-end" onClick={toEnd} />}
          <Composer key={conversation.id} />
          <p class="fine">Answers can be wrong. Open the sources.</p>
        </div>
      </div>
    </main>
  );
}
