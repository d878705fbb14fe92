import { useSignal } from "@preact/signals";
import { forgetKey, hasKey } from "../lib/api.ts";
import { age } from "../lib/format.ts";
import type { Conversation } from "../lib/types.ts";
import { lives } from "../state/chat.ts";
import { all, current, open, remove, startNew } from "../state/conversations.ts";
import { go, railOpen, tell, view } from "../state/page.ts";
import { chats, settings } from "../state/server.ts";
import { Brand } from "./Brand.tsx";
import { Icon } from "./Icon.tsx";
import { IconButton } from "./IconButton.tsx";

/** Search is offered once there is enough to search in. */
const SEARCH_FROM = 6;

/** Left: new chat, sections, and the conversations of this browser. */
export function Rail() {
  const wanted = useSignal("");
  const words = wanted.value.trim().toLowerCase();
  const found = words ? all.value.filter((c) => matches(c, words)) : all.value;
  return (
    <nav class={`rail ${railOpen.value ? "open" : ""}`} aria-label="Sections and conversations">
      <div class="rail-head">
        <Brand name={settings.value?.name ?? "lamina"} />
        <IconButton icon="close" name="Close menu" class="only-narrow" onClick={() => (railOpen.value = false)} />
      </div>
      {chats.value && (
        <button type="button" class="button new-chat" onClick={startNew}>
          <Icon name="plus" /> New chat <kbd>Ctrl K</kbd>
        </button>
      )}
      <Section
        name={chats.value ? "Chat" : "Texts"}
        icon={chats.value ? "chat" : "pen"}
        here={view.value === "chat"}
        onClick={() => go("chat")}
      />
      <Section name="Releases" icon="layers" here={view.value === "releases"} onClick={() => go("releases")} />
      {chats.value && all.value.length >= SEARCH_FROM && (
        <label class="search">
          <Icon name="search" size={16} />
          <input
            type="search"
            placeholder="Search conversations"
            aria-label="Search conversations"
            value={wanted.value}
            onInput={(event) => (wanted.value = event.currentTarget.value)}
          />
        </label>
      )}
      <div class="history">
        {groups(chats.value ? found : []).map(([name, conversations]) => (
          <section key={name}>
            <h2>{name}</h2>
            <ul>
              {conversations.map((conversation) => (
                <Entry key={conversation.id} conversation={conversation} />
              ))}
            </ul>
          </section>
        ))}
        {words && !found.length && <p class="hint">No conversation has these words.</p>}
      </div>
      <footer class="rail-foot">
        <span title="Conversations are kept in this browser only">Lamina {settings.value?.lamina ?? ""}</span>
        {settings.value?.keys && hasKey() && (
          <IconButton
            icon="key"
            name="Forget the API key"
            onClick={() => {
              forgetKey();
              tell({ text: "The API key is forgotten." });
            }}
          />
        )}
      </footer>
    </nav>
  );
}

function Section({ name, icon, here, onClick }: { name: string; icon: "chat" | "layers" | "pen"; here: boolean; onClick: () => void }) {
  return (
    <button type="button" class="section-link" aria-current={here ? "page" : undefined} onClick={onClick}>
      <Icon name={icon} /> {name}
    </button>
  );
}

function Entry({ conversation }: { conversation: Conversation }) {
  const here = view.value === "chat" && conversation.id === current.value.id;
  return (
    <li class={`entry ${here ? "here" : ""}`}>
      <button type="button" aria-current={here ? "true" : undefined} onClick={() => void open(conversation.id)}>
        {lives.value.has(conversation.id) && <span class="pulse" aria-label="being answered" />}
        {conversation.title}
      </button>
      <IconButton icon="trash" name={`Remove “${conversation.title}”`} onClick={() => void remove(conversation)} />
    </li>
  );
}

function matches(conversation: Conversation, words: string): boolean {
  return (
    conversation.title.toLowerCase().includes(words) ||
    conversation.turns.some(
      (t) => t.question.toLowerCase().includes(words) || t.answers.some((a) => a.text.toLowerCase().includes(words)),
    )
  );
}

function groups(conversations: Conversation[]): [string, Conversation[]][] {
  const byAge = new Map<string, Conversation[]>();
  for (const conversation of conversations) {
    const name = age(conversation.updated);
    byAge.set(name, [...(byAge.get(name) ?? []), conversation]);
  }
  return [...byAge];
}
