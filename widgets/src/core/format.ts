// Numbers and values as people read them.
import type { RunState } from "./state";

/** What a table has for a word that may come from anywhere. */
export const own = <T>(table: Readonly<Record<string, T>>, word: string): T | undefined =>
  Object.hasOwn(table, word) ? table[word] : undefined;

export function duration(ms: number): string {
  const s = ms / 1000;
  if (s < 0.95) return `${Math.max(0, Math.round(ms))} ms`;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  const minutes = Math.floor(s / 60);
  return minutes < 60 ? `${minutes} min ${Math.floor(s % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export const count = (n: number, one: string, many = `${one}s`): string =>
  `${n.toLocaleString("en-US")} ${n === 1 ? one : many}`;

export function bytes(n: number): string {
  if (n < 1000) return count(n, "byte");
  const units = ["kB", "MB", "GB"];
  let value = n / 1000;
  while (value >= 1000 && units.length > 1) {
    value /= 1000;
    units.shift();
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[0]}`;
}

export function dollars(usd: number): string {
  if (usd === 0) return "$0.00";
  if (usd < 0.0001) return "<$0.0001";
  return `$${usd.toFixed(usd < 0.01 ? 4 : usd < 1 ? 3 : 2)}`;
}

/** What a run cost: never $0 when nobody knows, never a sum that hides what it leaves out. */
export function cost(run: RunState): string | null {
  if (run.cost === null) return run.unpriced ? "unpriced" : null;
  return dollars(run.cost) + (run.unpriced ? ` + ${count(run.unpriced, "unpriced call")}` : "");
}

/** Which model calls were not made anew, and what that saved. */
export function again(run: RunState): string {
  const calls = run.calls.filter((c) => c.done);
  const [first] = run.nodes;
  if (first?.again && !calls.some((c) => c.again) && run.nodes.every((n) => n.again)) return first.again;
  const parts = (["reused", "replayed", "cached"] as const).flatMap((word) => {
    const n = calls.filter((c) => c.again === word).length;
    return n ? [n === calls.length ? word : `${n} of ${calls.length} calls ${word}`] : [];
  });
  if (run.saved > 0) parts.push(`would have cost ${dollars(run.saved)}`);
  return parts.join(", ");
}

const PERIOD = { session: "in this session", hour: "in this hour", day: "today", week: "this week", month: "this month" };

/** The limit over many runs that is nearest, "$0.43 of $2.50 today"; "" without one. */
export function limit(run: RunState): string {
  const nearest = [...run.limits].sort((a, b) => b.spent_usd / b.usd - a.spent_usd / a.usd)[0];
  if (!nearest) return "";
  return `${dollars(nearest.spent_usd)} of ${dollars(nearest.usd)} ${PERIOD[nearest.per] ?? ""}`.trim();
}

export function tokens(run: RunState): number | null {
  const { total_tokens, prompt_tokens, completion_tokens } = run.usage;
  if (total_tokens !== undefined) return total_tokens;
  if (prompt_tokens === undefined && completion_tokens === undefined) return null;
  return (prompt_tokens ?? 0) + (completion_tokens ?? 0);
}

export const words = (text: string): number => text.match(/\S+/g)?.length ?? 0;

export function host(url: string): string {
  try {
    const { hostname, protocol } = new URL(url);
    return protocol === "http:" || protocol === "https:" ? hostname.replace(/^www\./, "") : "";
  } catch {
    return "";
  }
}

/** A value on one line, for a summary. */
export function brief(value: unknown, limit = 90): string {
  const one = (v: unknown): string => (typeof v === "string" ? v : (JSON.stringify(v) ?? ""));
  const text =
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? Object.entries(value)
          .slice(0, 6)
          .map(([k, v]) => `${k}: ${one(v).slice(0, limit)}`)
          .join(", ")
      : one(value);
  const line = text.slice(0, 4 * limit).replace(/\s+/g, " ").trim();
  return line.length > limit ? `${line.slice(0, limit - 1)}…` : line;
}

/** Characters of JSON that stay on one line; as in mesh_nb/notebook/_words.py. */
const LINE = 80;

/** A value as text: JSON with what fits a line kept on one line. */
export function pretty(value: unknown, indent = ""): string {
  if (typeof value === "string" && !indent) return value;
  const flat = JSON.stringify(value) ?? "";
  if (value === null || typeof value !== "object") return flat;
  const line = flat.length <= LINE ? spaced(value) : flat;
  if (line.length <= LINE) return line;
  if (flat.length > 100_000) return JSON.stringify(value, null, 2);
  const deeper = `${indent}  `;
  const list = Array.isArray(value);
  const items = list
    ? value.map((v) => pretty(v, deeper))
    : Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${pretty(v, deeper)}`);
  const body = items.map((item) => `\n${deeper}${item}`).join(",");
  return list ? `[${body}\n${indent}]` : `{${body}\n${indent}}`;
}

/** Short JSON on one line, with a space after each colon and comma. */
function spaced(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spaced).join(", ")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "";
  const items = Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${spaced(v)}`);
  return items.length ? `{${items.join(", ")}}` : "{}";
}

/** A JSON value as a Python literal. */
export function python(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object")
    return `{${Object.entries(value)
      .map(([k, v]) => `${JSON.stringify(k)}: ${python(v)}`)
      .join(", ")}}`;
  return JSON.stringify(value);
}

/** A tool call as Python source. */
export function pythonCall(name: string, args: unknown): string {
  const callee = /^[A-Za-z_]\w*$/.test(name) ? name : "tool";
  if (args === undefined || args === null) return `${callee}()`;
  if (typeof args !== "object" || Array.isArray(args)) return `${callee}(${python(args)})`;
  const entries = Object.entries(args);
  if (entries.every(([k]) => /^[A-Za-z_]\w*$/.test(k)))
    return `${callee}(${entries.map(([k, v]) => `${k}=${python(v)}`).join(", ")})`;
  return `${callee}(**${python(args)})`;
}
