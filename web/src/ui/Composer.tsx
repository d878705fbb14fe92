import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ask, lives, stop } from "../state/chat.ts";
import { current } from "../state/conversations.ts";
import { choices, model } from "../state/server.ts";
import { GroundingSwitch } from "./GroundingSwitch.tsx";
import { Icon } from "./Icon.tsx";
import { IconButton } from "./IconButton.tsx";

const MAX_HEIGHT = 240;

/** Where the question is written. Enter sends, Shift+Enter starts a line. */
export function Composer() {
  const text = useSignal("");
  const field = useRef<HTMLTextAreaElement>(null);
  const running = lives.value.has(current.value.id);
  useEffect(() => {
    const area = field.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight, MAX_HEIGHT)}px`;
  }, [text.value]);
  useEffect(() => {
    // on a touch screen the focus would push the keyboard over the page before anything was read
    if (matchMedia("(hover: hover)").matches) field.current?.focus();
  }, []);
  const send = () => {
    const question = text.value.trim();
    if (!question || running) return;
    text.value = "";
    void ask(question);
  };
  return (
    <form
      class="composer"
      aria-label="Ask a question"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        id="question"
        ref={field}
        rows={1}
        placeholder="Ask about the documents"
        aria-label="Question"
        value={text.value}
        onInput={(event) => (text.value = event.currentTarget.value)}
        onKeyDown={(event) => {
          // Enter also confirms a word of an input method; that one is not ours
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            send();
          }
        }}
      />
      <div class="composer-foot">
        <GroundingSwitch />
        {choices.value.length > 1 && (
          <select
            class="picker"
            aria-label="Model"
            value={model.value}
            onChange={(event) => (model.value = event.currentTarget.value)}
          >
            {choices.value.map((choice) => (
              <option key={choice.value} value={choice.value}>
                {choice.label}
              </option>
            ))}
          </select>
        )}
        <span class="grow" />
        {running ? (
          <IconButton icon="stop" name="Stop (Esc)" class="send stop" onClick={() => stop()} />
        ) : (
          <button type="submit" class="icon-button send" aria-label="Send" title="Send (Enter)" disabled={!text.value.trim()}>
            <Icon name="send" />
          </button>
        )}
      </div>
    </form>
  );
}
