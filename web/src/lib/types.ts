/** What goes over the wire (the REST API's words) and what the page keeps of it. */

export type Mode = "weights only" | "weights + documents";
export type Split = "train" | "held-out";
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

export const REASONS = ["wrong", "incomplete", "unsafe", "format", "unwelcome", "other"] as const;
export type Reason = (typeof REASONS)[number];

/** A passage that was put into the context, numbered from 1. `start` counts code points in the document's text. */
export interface Source {
  number: number;
  kind: "document" | "correction";
  document_id: string;
  title: string | null;
  url: string | null;
  source: string | null;
  license: string | null;
  passage: string;
  start: number;
  score: number;
}

export interface ChatChunk {
  id: string;
  model: string;
  choices: { delta?: { content?: string }; finish_reason?: Finish | null }[];
  grounding?: { mode: Mode; found: boolean; recited?: boolean };
  sources?: Source[];
}

export type Finish = "stop" | "length" | "abort" | "error";

export interface Settings {
  name: string;
  grounding: Mode;
  documents: boolean;
  examples: string[];
  keys: boolean;
  lamina: string;
}

/** What a model can be asked for; one that says nothing of it chats. */
export type Task =
  | "chat"
  | "completions"
  | "embeddings"
  | "fill-mask"
  | "classify"
  | "tag"
  | "translate"
  | "summarize";

export interface Model {
  id: string;
  root?: string;
  tasks?: Task[];
  languages?: [string, string][];
  labels?: string[];
}

/** A word for a mask. */
export interface Guess {
  word: string;
  probability: number;
}

/** A word of a text with its label. */
export interface TaggedWord {
  word: string;
  begin: number;
  end: number;
  label: string;
  probability: number;
}

/** What a model said of one text; which of the fields are there depends on the task. */
export interface TextAnswer {
  text?: string;
  masks?: Guess[][];
  label?: string;
  probabilities?: Record<string, number>;
  words?: TaggedWord[];
}

export interface Document {
  id: string;
  kind?: "correction";
  question?: string;
  title: string | null;
  author: string | null;
  url: string | null;
  source: string | null;
  license: string | null;
  created: string | null;
  text: string;
}

export interface TraceLink {
  kind: string;
  id: string;
  facts: Record<string, Json>;
}

export interface Trace {
  id: string;
  links: TraceLink[];
}

export interface Version {
  id: string;
  digest: string;
  parent: string | null;
  run: string | null;
  corpus: string | null;
  snapshot: string | null;
  role: "base" | "documents" | "feedback";
  metrics: Record<string, Json>;
  created: string;
}

export interface Receipt {
  id: string;
  champion: string;
  challenger: string;
  verdict: "promote" | "reject" | "inconclusive";
  reasons: string[];
  results: Record<string, Json>;
  decided_by: string;
  created: string;
}

export interface Releases {
  aliases: Record<string, string>;
  versions: Version[];
  receipts: Receipt[];
}

export interface Summary {
  interactions: number;
  thumbs_up: number;
  thumbs_down: number;
  corrections: number;
  train: number;
  held_out: number;
}

export interface Job {
  id: string;
  state: string;
  said?: string[];
  result?: Json;
}

export interface FeedbackReply {
  id: string;
  kind: string;
  split: Split;
  in_effect: boolean;
}

/** What this reader said of an answer, as far as the server confirmed it. */
export interface Judgement {
  thumb?: boolean;
  reasons?: Reason[];
  comment?: string;
  correction?: string;
  split?: Split;
  inEffect?: boolean;
}

export interface Answer {
  id: string;
  text: string;
  version: string;
  mode: Mode;
  found: boolean;
  sources: Source[];
  finish: Finish | null;
  error?: Problem;
  /** Earlier turns that did not fit into the model's context. */
  leftOut: number;
  said: Judgement;
}

export interface Turn {
  question: string;
  answers: Answer[];
  shown: number;
}

export interface Conversation {
  id: string;
  title: string;
  updated: number;
  turns: Turn[];
}

/** An error in words: what happened, and what can be done about it. */
export interface Problem {
  title: string;
  hint: string;
  code?: string;
}
