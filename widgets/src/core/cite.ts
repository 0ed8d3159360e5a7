// Where a citation's number stands in a text. Offsets come in the provider's unit.

/** A citation in a text: its number, and the place it follows in UTF-16 units; null is the end of the text. */
export interface Mark {
  at: number | null;
  number: number;
}

/** Around a number inside Markdown while it is rendered; taken out of what models say, so nobody forges them. */
export const OPEN = "\ue000";
export const CLOSE = "\ue001";
export const MARK = /\ue000(\d+)\ue001/g;

const FORGED = /[\ue000\ue001]/g;

/** Any value as text without mark characters. */
export function cleaned(value: unknown): string {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return text.replace(FORGED, "");
}

/** Convert a half-open end offset to UTF-16 units; beyond the text means its end. */
export function place(text: string, end: number, unit: string = "code_point"): number {
  if (unit === "utf16") return Math.min(Math.max(end, 0), text.length);
  let left = end;
  let at = 0;
  for (const char of text) {
    const code = char.codePointAt(0)!;
    left -= unit === "utf8_byte" ? (code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4) : 1;
    if (left < 0) break;
    at += char.length;
    if (left === 0) break;
  }
  return at;
}
