// A JSON value as a table, an image, text or JSON.
import { useState } from "preact/hooks";
import { brief, count, pretty } from "../core/format";
import { highlighted } from "../core/highlight";
import { escape, sanitize } from "../core/markdown";

const SHOWN = 12_000;
const ROWS = 50;
const COLUMNS = 12;

type Row = Record<string, unknown>;

const WRAPPERS = new Set(["content", "output", "result", "text"]);
/** Characters of a value that still reads well in a table. */
const CELL = 200;

/** The one string in a wrapper, and any other value as it is. */
export function unwrapped(value: unknown): unknown {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const [entry, ...more] = Object.entries(value);
  return entry && !more.length && WRAPPERS.has(entry[0]) && typeof entry[1] === "string" ? entry[1] : value;
}

/** Records of plain values, none long: what reads best as a table. */
export function records(value: unknown): Row[] | null {
  if (!Array.isArray(value) || !value.length) return null;
  const flat = (row: unknown): row is Row =>
    row !== null &&
    typeof row === "object" &&
    !Array.isArray(row) &&
    Object.keys(row).length > 0 &&
    Object.values(row).every((v) => v === null || (typeof v !== "object" && String(v).length <= CELL));
  return value.every(flat) ? (value as Row[]) : null;
}

const MAGIC: Record<string, string> = { iVBORw0KGgo: "image/png", "/9j/": "image/jpeg", R0lGOD: "image/gif", UklGR: "image/webp" };

/** The image in a value as a data address, when there is one. */
export function imageOf(value: unknown): string | null {
  if (typeof value === "string") {
    if (value.startsWith("data:image/")) return value;
    const mime = value.length > 64 && Object.entries(MAGIC).find(([start]) => value.startsWith(start))?.[1];
    return mime ? `data:${mime};base64,${value}` : null;
  }
  if (value === null || typeof value !== "object") return null;
  const v = value as Row;
  const mime = v["mime_type"] ?? v["mimeType"] ?? v["media_type"];
  const data = v["data"] ?? v["content"];
  return typeof mime === "string" && mime.startsWith("image/") && typeof data === "string"
    ? `data:${mime};base64,${data}`
    : null;
}

export function Value({ value, image }: { value: unknown; image?: (src: string) => boolean }) {
  const [all, setAll] = useState(false);
  const src = image && imageOf(value);
  if (src && image(src)) return <img class="result" src={src} alt="Result of the tool" />;
  const rows = records(value);
  if (rows) return <Table rows={rows} total={rows.length} />;
  const text = pretty(value);
  const cut = !all && text.length > SHOWN;
  const shown = cut ? text.slice(0, SHOWN) : text;
  const colored = typeof value === "string" || cut ? null : highlighted(text, "json");
  return (
    <>
      <pre
        class="value"
        tabIndex={0}
        ref={(el) => el?.replaceChildren(sanitize(`<code>${colored ?? escape(shown)}</code>`))}
      />
      {cut && (
        <button type="button" class="quiet more" onClick={() => setAll(true)}>
          Show all {count(text.length, "character")}
        </button>
      )}
    </>
  );
}

const NUMBER = /^[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)? ?%?$/i;
/** Whether a value reads as a number: those stand at the right of their column. */
const numeric = (value: unknown): boolean => typeof value === "number" || (typeof value === "string" && NUMBER.test(value));
const blank = (value: unknown): boolean => value === undefined || value === null || value === "";

export function Table({ rows, total }: { rows: Row[]; total: number }) {
  const columns = [...new Set(rows.slice(0, ROWS).flatMap(Object.keys))];
  const shown = columns.slice(0, COLUMNS);
  const side = new Map(
    shown.map((name) => {
      const values = rows.slice(0, ROWS).map((row) => row[name]).filter((value) => !blank(value));
      return [name, values.length && values.every(numeric) ? "number" : undefined];
    }),
  );
  const more = [
    total > ROWS ? count(total - ROWS, "more row") : "",
    columns.length > COLUMNS ? count(columns.length - COLUMNS, "more column") : "",
  ].filter(Boolean);
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label="Table">
      <table>
        <thead>
          <tr>
            {shown.map((name) => (
              <th key={name} scope="col" class={side.get(name)}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, ROWS).map((row, i) => (
            <tr key={i}>
              {shown.map((name) => (
                <td key={name} class={side.get(name)}>
                  {blank(row[name]) ? "" : brief(row[name], CELL)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {more.length > 0 && <p class="note">{more.join(", ")}</p>}
    </div>
  );
}
