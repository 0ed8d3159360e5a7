// A JSON value as a table, an image, text or JSON.
import { useState } from "preact/hooks";
import { brief, count, pretty } from "../core/format";
import { highlighted } from "../core/highlight";
import { escape, sanitize } from "../core/markdown";

const SHOWN = 12_000;
const ROWS = 50;
const COLUMNS = 12;

type Row = Record<string, unknown>;

/** A list of flat records, which reads best as a table. */
export function records(value: unknown): Row[] | null {
  if (!Array.isArray(value) || value.length < 2) return null;
  const flat = (row: unknown): row is Row =>
    row !== null &&
    typeof row === "object" &&
    !Array.isArray(row) &&
    Object.values(row).every((v) => v === null || typeof v !== "object");
  return value.every(flat) ? (value as Row[]) : null;
}

/** The image in a value as a data address, when there is one. */
export function imageOf(value: unknown): string | null {
  if (typeof value === "string") return value.startsWith("data:image/") ? value : null;
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
  if (rows) return <Table rows={rows} />;
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

function Table({ rows }: { rows: Row[] }) {
  const columns = [...new Set(rows.slice(0, ROWS).flatMap(Object.keys))];
  const shown = columns.slice(0, COLUMNS);
  const more = [
    rows.length > ROWS ? count(rows.length - ROWS, "more row") : "",
    columns.length > COLUMNS ? count(columns.length - COLUMNS, "more column") : "",
  ].filter(Boolean);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Table">
      <table>
        <thead>
          <tr>
            {shown.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, ROWS).map((row, i) => (
            <tr key={i}>
              {shown.map((name) => (
                <td key={name} class={typeof row[name] === "number" ? "number" : undefined}>
                  {row[name] === undefined || row[name] === null ? "" : brief(row[name], 200)}
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
