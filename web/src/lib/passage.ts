/** Where a passage stands in a document's text. */

/** `start` counts code points (Python's characters); a JavaScript string counts UTF-16 units. */
export function unitsOf(text: string, codePoints: number): number {
  let units = 0;
  for (let left = codePoints; left > 0 && units < text.length; left--) {
    units += (text.codePointAt(units) ?? 0) > 0xffff ? 2 : 1;
  }
  return units;
}

/** Start and end of `passage` in `text` in UTF-16 units, nearest to `start`; null where it is not found. */
export function locate(text: string, passage: string, start: number): [number, number] | null {
  const wanted = passage.trim();
  if (!wanted) return null;
  const guess = unitsOf(text, start);
  if (text.startsWith(passage, guess)) return [guess, guess + passage.length];
  const after = text.indexOf(wanted, Math.max(0, guess - wanted.length));
  const found = after >= 0 ? after : text.indexOf(wanted);
  return found >= 0 ? [found, found + wanted.length] : null;
}
