import { useEffect, useMemo, useState } from "preact/hooks";
import { bytes } from "../core/format";
import type { FilePart } from "../core/reduce";
import { Icon } from "./icons";
import { pure } from "./parts";

/** Raster types only: an SVG or a page could carry script, and is offered as a download. */
const IMAGES = /^image\/(?:png|jpe?g|gif|webp|avif|bmp)$/i;
const LARGE = 4_000_000;

export function blobOf(part: FilePart, mime = "application/octet-stream"): Blob | null {
  if (part.content === null) return null;
  try {
    return new Blob([Uint8Array.from(atob(part.content), (c) => c.charCodeAt(0))], { type: mime });
  } catch {
    return null;
  }
}

export const FileView = pure(({ part }: { part: FilePart; rev: number }) => {
  const image = IMAGES.test(part.mime) && part.content !== null;
  const [load, setLoad] = useState(image && (part.size ?? 0) <= LARGE);
  const [broken, setBroken] = useState(false);
  const url = useMemo(() => {
    const blob = image && load ? blobOf(part, part.mime) : null;
    return blob && URL.createObjectURL(blob);
  }, [part, load]);
  useEffect(() => () => void (url && URL.revokeObjectURL(url)), [url]);
  return (
    <figure class="file">
      {url && !broken && <img src={url} alt={part.name} onError={() => setBroken(true)} />}
      <figcaption>
        <Icon name={image ? "image" : "file"} />
        <span class="name" title={part.name}>
          {part.name}
        </span>
        <span class="figure">{[part.mime, part.size === null ? "" : bytes(part.size)].filter(Boolean).join(" · ")}</span>
        {image && !load && (
          <button type="button" class="quiet" onClick={() => setLoad(true)}>
            Show
          </button>
        )}
        {part.content === null ? (
          <span class="figure">in the run's log</span>
        ) : (
          <button type="button" class="quiet" aria-label={`Download ${part.name}`} onClick={() => download(part)}>
            <Icon name="download" />
            <span>Download</span>
          </button>
        )}
      </figcaption>
    </figure>
  );
});

/** A file name without a path, control or direction characters. */
export const safeName = (name: string): string =>
  (name.split(/[\\/]/).pop() ?? "").replace(/[\p{Cc}\p{Cf}:*?"<>|]/gu, "").replace(/^\.+/, "") || "file";

function download(part: FilePart): void {
  // Never the type the model named: a downloaded page must not open as one.
  const blob = blobOf(part);
  if (!blob) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = safeName(part.name);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
