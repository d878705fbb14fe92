/** What the server is and offers: its settings, the models, the reader's choice among them. */

import { computed, signal } from "@preact/signals";
import { problemOf, request } from "../lib/api.ts";
import type { Mode, Model, Problem, Settings, Task } from "../lib/types.ts";

export const settings = signal<Settings | null>(null);
export const models = signal<Model[]>([]);
export const trouble = signal<Problem | null>(null);

/** "" is the champion, whichever version that is when the question is asked. */
export const model = signal("");
const chosenMode = signal<Mode | null>(null);
export const mode = computed<Mode>(() => chosenMode.value ?? settings.value?.grounding ?? "weights + documents");

export function chooseMode(next: Mode): void {
  chosenMode.value = next;
}

/** The names worth choosing between: aliases, with the version that each points at. */
export const choices = computed(() =>
  models.value
    .filter((m) => m.id === "champion" || m.id === "challenger")
    .map((m) => ({ value: m.id === "champion" ? "" : m.id, label: m.root ? `${m.root} · ${m.id}` : m.id })),
);

const champion = computed(() => models.value.find((m) => m.id === "champion"));
const tasks = computed<Task[]>(() => champion.value?.tasks ?? ["chat"]);

/** Whether the model that answers chats. Until it is known, it does. */
export const chats = computed(() => tasks.value.includes("chat"));

/** What can be asked of whole texts, and has a form on the page. */
export const textTasks = computed(() => tasks.value.filter((task) => FORMS.includes(task)));
export const languages = computed(() => champion.value?.languages ?? []);
const FORMS: Task[] = ["translate", "summarize", "fill-mask", "classify", "tag"];

const GENERIC = [
  "What are the documents about?",
  "Which names come up most often, and who are they?",
  "Explain the most important idea in three sentences.",
];

export const examples = computed(() => {
  const own = settings.value?.examples ?? [];
  return (own.length ? own : GENERIC).slice(0, 3);
});

export async function connect(): Promise<void> {
  try {
    settings.value = await request<Settings>("v1/settings");
    await loadModels();
    trouble.value = null;
  } catch (error) {
    trouble.value = problemOf(error);
  }
}

export async function loadModels(): Promise<void> {
  models.value = (await request<{ data: Model[] }>("v1/models")).data;
  if (model.value && !choices.value.some((c) => c.value === model.value)) model.value = "";
}
