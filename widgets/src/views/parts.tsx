// What several views are made of.
import { Component, type ComponentChildren, type FunctionComponent, h } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Feed } from "../core/feed";
import { Icon } from "./icons";

/** A component that is drawn again only when one of its properties changed. */
export function pure<P extends object>(draw: FunctionComponent<P>): FunctionComponent<P> {
  return class Pure extends Component<P> {
    override shouldComponentUpdate(next: P): boolean {
      const before = this.props as Record<string, unknown>;
      return Object.entries(next).some(([name, value]) => before[name] !== value);
    }
    override render() {
      return h(draw as FunctionComponent<object>, this.props);
    }
  } as unknown as FunctionComponent<P>;
}

const AGAIN: Record<string, string> = {
  reused: "Taken from another run: nothing was run or paid again",
  replayed: "Played from a tape: no model was asked",
  cached: "Taken from a cache: no model was asked",
};

/** Says that something was not done anew. */
export const Badge = ({ word }: { word: string }) => (
  <span class="tag again" title={AGAIN[word]}>
    {word}
  </span>
);

interface FoldProps {
  feed: Feed;
  /** Names the choice of the reader in this run. */
  id: string;
  open: boolean;
  summary: ComponentChildren;
  class?: string;
  children?: ComponentChildren;
}

/** Native details whose default may change until the reader chooses. */
export function Fold({ feed, id, open, summary, class: name, children }: FoldProps) {
  const [, redraw] = useState(0);
  const shown = feed.choices.get(id) ?? open;
  const choose = (to: boolean) => {
    feed.choices.set(id, to);
    redraw((n) => n + 1);
  };
  return (
    <details
      class={name}
      open={shown}
      onToggle={(event) => {
        // Find-in-page opens details without a click.
        const now = (event.currentTarget as HTMLDetailsElement).open;
        if (now !== (feed.choices.get(id) ?? open)) choose(now);
      }}
    >
      <summary
        onClick={(event) => {
          event.preventDefault();
          choose(!shown);
        }}
      >
        {summary}
        <Icon name="chevron" />
      </summary>
      {shown && <div class="body">{children}</div>}
    </details>
  );
}

export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard outside https: the old way still works there.
    const area = document.body.appendChild(document.createElement("textarea"));
    area.value = text;
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

export function CopyButton({ text, label, children }: { text: () => string; label: string; children?: ComponentChildren }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(false), 1500);
    return () => clearTimeout(timer);
  }, [done]);
  return (
    <button
      type="button"
      class="quiet"
      title={label}
      aria-label={done ? "Copied" : label}
      onClick={async () => setDone(await copyText(text()))}
    >
      <Icon name={done ? "check" : "copy"} />
      {children && <span>{done ? "Copied" : children}</span>}
    </button>
  );
}
