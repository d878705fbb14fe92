/** The figure that versions are compared by. */

import type { Version } from "../../lib/types.ts";

/** Bits per byte on held-out documents (lower is better), or null where it was not measured. */
export function bitsOf(version: Version): number | null {
  const value = version.metrics["bits_per_byte"];
  if (typeof value === "number") return value;
  const after = value && typeof value === "object" && !Array.isArray(value) ? (value["value"] ?? value["after"]) : null;
  return typeof after === "number" ? after : null;
}

export const ROLES = {
  base: "Base model",
  documents: "Trained on the documents",
  feedback: "Trained on feedback",
} as const;
