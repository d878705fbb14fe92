/** What the page shows: view, side panel, dialogs, notices. */

import { signal } from "@preact/signals";
import { onKeyWanted } from "../lib/api.ts";
import type { Source } from "../lib/types.ts";

export type View = "chat" | "releases";
export type Panel = { kind: "source"; source: Source } | { kind: "trace"; id: string };

export const view = signal<View>("chat");
export const panel = signal<Panel | null>(null);
/** The rail as a drawer, on small screens. */
export const railOpen = signal(false);
/** Text for screen readers. */
export const spoken = signal<{ key: number; text: string }[]>([]);

export interface Notice {
  text: string;
  action?: { label: string; run: () => void };
}
export const notice = signal<Notice | null>(null);

let timer = 0;
/** Show a short message for some seconds. */
export function tell(next: Notice): void {
  notice.value = next;
  window.clearTimeout(timer);
  timer = window.setTimeout(() => (notice.value = null), 7000);
}

let opener: HTMLElement | null = null;

/** Open the side panel; the focus comes back to where it was when it closes. */
export function openPanel(next: Panel): void {
  if (!panel.value && document.activeElement instanceof HTMLElement) opener = document.activeElement;
  panel.value = next;
}

export function closePanel(): void {
  panel.value = null;
  opener?.focus();
  opener = null;
}

let key = 0;
/** Have `text` read aloud; the log keeps the last few lines. */
export function say(text: string): void {
  if (text) spoken.value = [...spoken.value.slice(-19), { key: key++, text }];
}

/** The question for an API key, while somebody waits for its answer. */
export const keyWanted = signal<{ refused: boolean; answer: (key: string | null) => void } | null>(null);
let asking: Promise<string | null> | null = null;

// requests that fail together wait for the one answer
onKeyWanted((refused) => {
  asking ??= new Promise<string | null>((resolve) => {
    const answer = (given: string | null) => {
      keyWanted.value = null;
      asking = null;
      resolve(given);
    };
    keyWanted.value = { refused, answer };
  });
  return asking;
});

/** Follow the address: #/releases, #/chat/<id>. */
export function readAddress(openChat: (id: string) => void): void {
  const [, name, id] = location.hash.split("/");
  view.value = name === "releases" ? "releases" : "chat";
  if (name === "chat" && id) openChat(decodeURIComponent(id));
}

export function go(next: View): void {
  view.value = next;
  panel.value = null;
  railOpen.value = false;
  history.pushState(null, "", next === "releases" ? "#/releases" : location.pathname);
}
