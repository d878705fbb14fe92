/** The conversations: the open one, and the list of all in this browser. */

import { computed, signal } from "@preact/signals";
import * as store from "../lib/history.ts";
import { shorten } from "../lib/format.ts";
import type { Answer, Conversation, Judgement } from "../lib/types.ts";
import { go, panel, railOpen, tell, view } from "./page.ts";

export const current = signal<Conversation>(fresh());
export const all = signal<Conversation[]>([]);
export const isEmpty = computed(() => current.value.turns.length === 0);

function fresh(): Conversation {
  return { id: crypto.randomUUID(), title: "", updated: Date.now(), turns: [] };
}

export async function refresh(): Promise<void> {
  all.value = await store.list();
}

/** An empty page to write on. */
export function startNew(): void {
  if (current.value.turns.length) current.value = fresh();
  go("chat");
  document.getElementById("question")?.focus();
}

export async function open(id: string): Promise<void> {
  railOpen.value = false;
  if (id !== current.value.id) {
    const found = await store.load(id);
    if (!found) {
      tell({ text: "This conversation is not in this browser." });
      return;
    }
    current.value = found;
    panel.value = null;
  }
  view.value = "chat";
  const address = `#/chat/${id}`;
  if (location.hash !== address) history.pushState(null, "", address);
}

/** Change a conversation, open or not, and keep it. */
export async function change(id: string, edit: (conversation: Conversation) => Conversation): Promise<void> {
  const base = id === current.value.id ? current.value : await store.load(id);
  if (!base) return;
  const next = { ...edit(base), updated: Date.now() };
  if (id === current.value.id) current.value = next;
  all.value = [next, ...all.value.filter((c) => c.id !== id)];
  await store.save(next);
}

/** The conversation with a new question at its end. */
export function asked(conversation: Conversation, question: string): Conversation {
  const title = conversation.title || shorten(question, 60);
  return { ...conversation, title, turns: [...conversation.turns, { question, answers: [], shown: 0 }] };
}

/** The conversation with a further answer to its last question. */
export function answered(conversation: Conversation, answer: Answer): Conversation {
  const turns = conversation.turns.slice();
  const last = turns.pop();
  if (!last) return conversation;
  // an answer that failed before its first word makes room for the next one
  const answers = [...last.answers.filter((a) => a.text || !a.error), answer];
  return { ...conversation, turns: [...turns, { ...last, answers, shown: answers.length - 1 }] };
}

/** Show another answer of a turn. */
export function show(turn: number, answer: number): void {
  void change(current.value.id, (c) => ({
    ...c,
    turns: c.turns.map((t, i) => (i === turn ? { ...t, shown: answer } : t)),
  }));
}

/** Remember what was said of an answer. */
export function judged(answer: string, said: Judgement): Promise<void> {
  return change(current.value.id, (c) => ({
    ...c,
    turns: c.turns.map((t) => ({ ...t, answers: t.answers.map((a) => (a.id === answer ? { ...a, said } : a)) })),
  }));
}

/** Remove a conversation from this browser; it can be brought back for some seconds. */
export async function remove(conversation: Conversation): Promise<void> {
  if (conversation.id === current.value.id) current.value = fresh();
  all.value = all.value.filter((c) => c.id !== conversation.id);
  await store.remove(conversation.id);
  tell({
    text: "Conversation removed from this browser.",
    action: { label: "Undo", run: () => void store.save(conversation).then(refresh) },
  });
}
