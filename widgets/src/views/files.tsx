import { useEffect, useMemo, useState } from "preact/hooks";
import type { Feed } from "../core/feed";
import { bytes } from "../core/format";
import type { FilePart } from "../core/state";
import { Icon } from "./icons";
import { pure } from "./parts";
import { Table } from "./value";

/** Raster types only: an SVG or a page could carry script, and is offered as a download. */
const IMAGES = /^image\/(?:png|jpe?g|gif|webp|avif|bmp)$/i;

/** The content of a file, or null when it is not here. Never of the type the model named, unless asked. */
function blobOf(feed: Feed, part: FilePart, type = "application/octet-stream"): Blob | null {
  const sent = feed.files.get(part.seq);
  if (sent) return new Blob([sent as BlobPart], { type });
  if (part.content === null) return null;
  try {
    return new Blob([Uint8Array.from(atob(part.content), (c) => c.charCodeAt(0))], { type });
  } catch {
    return null;
  }
}

type Wish = "show" | "download" | "open";

/** Types that a browser plays or opens, and that carry no script of the page. */
const AUDIO = /^audio\/(?:mpeg|mp3|wav|x-wav|wave|ogg|webm|mp4|aac|flac|x-m4a)$/i;
const PDF = /^application\/pdf$/i;

export const FileView = pure(({ feed, part }: { feed: Feed; part: FilePart; rev: number }) => {
  const here = part.content !== null || feed.files.has(part.seq);
  const image = IMAGES.test(part.mime);
  const audio = AUDIO.test(part.mime);
  const shows = image || audio;
  const [wish, setWish] = useState<Wish | null>(null);
  const [broken, setBroken] = useState(false);
  const url = useMemo(() => {
    const blob = shows && here ? blobOf(feed, part, part.mime) : null;
    return blob && URL.createObjectURL(blob);
  }, [part, here]);
  useEffect(() => () => void (url && URL.revokeObjectURL(url)), [url]);
  useEffect(() => {
    if (wish === "download" && here) download(feed, part);
    if (wish === "open" && here) open(feed, part);
    if (here) setWish(null);
  }, [wish, here]);
  const get = (what: Wish) => {
    setWish(what);
    if (!here) feed.fetch(part.seq);
  };
  return (
    <figure class={part.preview ? "file wide" : "file"}>
      {url && image && !broken && <img src={url} alt={part.name} onError={() => setBroken(true)} />}
      {url && audio && !broken && <audio controls preload="metadata" src={url} aria-label={part.name} onError={() => setBroken(true)} />}
      {part.preview && <Table rows={part.preview.rows} total={part.preview.total} />}
      <figcaption>
        <Icon name={image ? "image" : "file"} />
        <span class="name" title={part.name}>
          {part.name}
        </span>
        <span class="figure">{`${part.mime} · ${part.holder && part.size === null ? `kept by ${part.holder}` : part.size === null ? "size unknown" : bytes(part.size)}`}</span>
        {PDF.test(part.mime) && (here || part.omitted) && (
          <button type="button" class="quiet" disabled={wish !== null} aria-label={`Open ${part.name}`} onClick={() => get("open")}>
            Open
          </button>
        )}
        {shows && !here && part.omitted && (
          <button type="button" class="quiet" disabled={wish !== null} aria-label={`Show ${part.name}`} onClick={() => get("show")}>
            {wish ? "Loading…" : audio ? "Play" : "Show"}
          </button>
        )}
        {here || part.omitted ? (
          <button type="button" class="quiet" aria-label={`Download ${part.name}`} onClick={() => get("download")}>
            <Icon name="download" />
            <span>Download</span>
          </button>
        ) : (
          !part.holder && <span class="figure">not here</span>
        )}
      </figcaption>
    </figure>
  );
});

/** A file name without a path, control or direction characters. */
export const safeName = (name: string): string =>
  (name.split(/[\\/]/).pop() ?? "").replace(/[\p{Cc}\p{Cf}:*?"<>|]/gu, "").replace(/^\.+/, "") || "file";

function open(feed: Feed, part: FilePart): void {
  const blob = blobOf(feed, part, "application/pdf");
  if (!blob) return;
  const url = URL.createObjectURL(blob);
  window.open(url, "_blank", "noopener");
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function download(feed: Feed, part: FilePart): void {
  const blob = blobOf(feed, part);
  if (!blob) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = safeName(part.name);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
