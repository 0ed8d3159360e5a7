import type { RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Feed } from "../core/feed";
import { count, host } from "../core/format";
import { safeLink } from "../core/markdown";
import { sourceList, type Citation, type RunState } from "../core/state";
import { Icon } from "./icons";
import { Fold } from "./parts";

function SourceLink({ source }: { source: Citation }) {
  const url = safeLink(source.url);
  const domain = host(source.url);
  return (
    <>
      {url ? (
        <a href={url} target="_blank" rel="noopener noreferrer">
          {source.title}
        </a>
      ) : (
        <span>{source.title}</span>
      )}
      {domain && domain !== source.title && <span class="domain">{domain}</span>}
    </>
  );
}

/** The sources that the text cites, by number; what was only read is folded. */
export function SourceList({ feed, run }: { feed: Feed; run: RunState }) {
  if (!run.sources.size) return null;
  const { cited, read } = sourceList(run);
  return (
    <footer class="sources">
      {cited.length > 0 && (
        <>
          <p class="label">Sources</p>
          <ol>
            {cited.map((source) => (
              <li key={source.number} value={source.number}>
                <SourceLink source={source} />
              </li>
            ))}
          </ol>
        </>
      )}
      {read.length > 0 && (
        <Fold
          feed={feed}
          id="also read"
          class="tool read"
          open={false}
          summary={
            <>
              <Icon name="link" />
              <span class="title">Also read</span>
              <span class="figure">{count(read.length, "source")}</span>
            </>
          }
        >
          <ul>
            {read.slice(0, 200).map((source) => (
              <li key={source.url || source.title}>
                <SourceLink source={source} />
              </li>
            ))}
          </ul>
        </Fold>
      )}
    </footer>
  );
}

interface At {
  number: number;
  chip: HTMLElement;
}

/** One card for all chips of a run, in the top layer, so that no table or scroller cuts it off. */
export function Card({ feed, root }: { feed: Feed; root: RefObject<HTMLElement | null> }) {
  const [at, setAt] = useState<At | null>(null);
  const card = useRef<HTMLDivElement>(null);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => {
    const el = root.current!;
    const chipOf = (event: Event) => (event.target as Element).closest<HTMLElement>("button.chip");
    const inCard = (event: Event) => card.current?.contains(event.target as Node) ?? false;
    const show = (event: Event) => {
      const chip = chipOf(event);
      if (chip || inCard(event)) clearTimeout(timer.current);
      if (chip) setAt({ number: Number((chip as HTMLButtonElement).value), chip });
    };
    const hide = (event: Event) => {
      if (!chipOf(event) && !inCard(event)) return;
      clearTimeout(timer.current);
      timer.current = setTimeout(() => setAt(null), 200);
    };
    const keys = (event: KeyboardEvent) => {
      if (event.key === "Escape") return setAt(null);
      const chip = chipOf(event);
      const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
      if (!chip || !step) return;
      const chips = [...el.querySelectorAll<HTMLElement>("button.chip")];
      chips[chips.indexOf(chip) + step]?.focus();
      event.preventDefault();
    };
    const pairs: [string, (event: never) => void][] = [
      ["pointerover", show],
      ["focusin", show],
      ["click", show],
      ["pointerout", hide],
      ["focusout", hide],
      ["keydown", keys],
    ];
    for (const [name, act] of pairs) el.addEventListener(name, act as EventListener);
    return () => {
      for (const [name, act] of pairs) el.removeEventListener(name, act as EventListener);
      clearTimeout(timer.current);
    };
  }, []);
  useEffect(() => {
    const el = card.current;
    if (!el || !at) return;
    el.showPopover?.();
    const box = at.chip.getBoundingClientRect();
    const { width, height } = el.getBoundingClientRect();
    const below = box.bottom + 6 + height < innerHeight || box.top < height + 6;
    el.style.left = `${Math.max(8, Math.min(box.left - 12, innerWidth - width - 8))}px`;
    el.style.top = `${below ? box.bottom + 6 : box.top - height - 6}px`;
    // The card stands still while the page moves under it: let it go.
    const gone = () => setAt(null);
    addEventListener("scroll", gone, { capture: true, passive: true, once: true });
    return () => {
      removeEventListener("scroll", gone, { capture: true });
      el.hidePopover?.();
    };
  }, [at]);
  const source = at && [...feed.run.sources.values()].find((s) => s.number === at.number);
  return (
    <div class="card" popover="manual" ref={card} role="note">
      {source && (
        <>
          <p class="where">
            <span class="chip">{source.number}</span>
            {host(source.url) || "Source"}
          </p>
          <p class="what">
            <SourceLink source={{ ...source, url: source.url }} />
          </p>
          {source.quote && <blockquote>{source.quote.slice(0, 400)}</blockquote>}
        </>
      )}
    </div>
  );
}
