/** Numbers, times and names for people. */

const DAY = 86_400_000;

export function date(iso: string | null | undefined): string {
  if (!iso) return "";
  const time = new Date(iso);
  return Number.isNaN(time.getTime())
    ? iso
    : time.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/** The heading that a conversation of this time stands under. */
export function age(time: number, now = Date.now()): string {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  if (time >= midnight) return "Today";
  if (time >= midnight - DAY) return "Yesterday";
  if (time >= midnight - 6 * DAY) return "This week";
  return "Earlier";
}

/** At most `limit` characters, cut between words. */
export function shorten(text: string, limit: number): string {
  const line = text.replace(/\s+/g, " ").trim();
  if (line.length <= limit) return line;
  const cut = line.slice(0, limit);
  const space = cut.lastIndexOf(" ");
  return `${cut.slice(0, space > limit / 2 ? space : limit)}…`;
}

export function number(value: number): string {
  return value.toLocaleString(undefined, Number.isInteger(value) ? {} : { maximumSignificantDigits: 5 });
}

export function signed(value: number): string {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString()} ${count === 1 ? one : many}`;
}

/** A hash is told by its first characters. */
export function short(id: string): string {
  return /^[0-9a-f]{24,}$/.test(id) ? `${id.slice(0, 12)}…` : id.length > 40 ? `${id.slice(0, 38)}…` : id;
}

/** "bits_per_byte" → "Bits per byte". */
export function label(key: string): string {
  const words = key === "license" ? "licence" : key.replace(/_/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
