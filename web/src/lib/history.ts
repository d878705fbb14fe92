/** Conversations in this browser (IndexedDB). Where it may not store, they last as long as the page. */

import type { Conversation } from "./types.ts";

const NAME = "lamina";
const STORE = "conversations";
const memory = new Map<string, Conversation>();
let opened: Promise<IDBDatabase | null> | null = null;

function open(): Promise<IDBDatabase | null> {
  opened ??= new Promise((resolve) => {
    try {
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(null);
      request.onblocked = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
  return opened;
}

async function run<T>(
  mode: IDBTransactionMode,
  act: (store: IDBObjectStore) => IDBRequest<T>,
  instead: () => T,
): Promise<T> {
  const database = await open();
  if (!database) return instead();
  return new Promise((resolve) => {
    try {
      const request = act(database.transaction(STORE, mode).objectStore(STORE));
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(instead());
    } catch {
      resolve(instead());
    }
  });
}

/** Keep `conversation`; a later call with the same id replaces it. */
export async function save(conversation: Conversation): Promise<void> {
  await run<IDBValidKey>(
    "readwrite",
    (store) => store.put(conversation),
    () => {
      memory.set(conversation.id, conversation);
      return conversation.id;
    },
  );
}

export async function load(id: string): Promise<Conversation | undefined> {
  return run<Conversation | undefined>(
    "readonly",
    (store) => store.get(id),
    () => memory.get(id),
  );
}

/** All of them, the latest first. */
export async function list(): Promise<Conversation[]> {
  const all = await run<Conversation[]>(
    "readonly",
    (store) => store.getAll(),
    () => [...memory.values()],
  );
  return all.sort((a, b) => b.updated - a.updated);
}

export async function remove(id: string): Promise<void> {
  await run<undefined>(
    "readwrite",
    (store) => store.delete(id),
    () => void memory.delete(id),
  );
}
