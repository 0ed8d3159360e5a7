import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { isOpen, LINGER } from "../core/disclosure";
import type { Feed } from "../core/feed";
import { count, duration, words } from "../core/format";
import type { ReasoningPart } from "../core/state";
import { Icon } from "./icons";
import { Markdown } from "./markdown";
import { Fold, pure } from "./parts";

interface Props {
  id: string;
  feed: Feed;
  part: ReasoningPart;
  /** The last thing of a node that failed. */
  stranded: boolean;
  rev: number;
}

export const Reasoning = pure(({ id, feed, part, stranded }: Props) => {
  const streaming = part.endedAt === null;
  const [lingering, setLingering] = useState(streaming);
  useEffect(() => {
    if (streaming || !lingering) return;
    const timer = setTimeout(() => setLingering(false), LINGER);
    return () => clearTimeout(timer);
  }, [streaming, lingering]);
  const box = useRef<HTMLDivElement>(null);
  useFollow(box, part.rev, streaming);
  const took = part.endedAt === null ? 0 : (part.endedAt - part.startedAt) * 1000;
  const thought = took >= 1000 ? `Thought for ${duration(Math.round(took / 1000) * 1000).replace(".0 s", " s")}` : "Thought";
  const label = streaming ? "Thinking…" : thought;
  if (!streaming && !part.text.trim())
    return (
      <p class="reasoning note">
        <Icon name="think" />
        {label}
        <span class="figure">{part.kind === "redacted" ? "The provider keeps this reasoning to itself." : ""}</span>
      </p>
    );
  const choice = feed.choices.get(id);
  return (
    <Fold
      feed={feed}
      id={id}
      class={`reasoning ${streaming ? "streaming" : ""}`}
      open={isOpen({ choice, streaming, lingering, stranded })}
      summary={
        <>
          <Icon name="think" />
          <span class="title">{label}</span>
          {!streaming && <span class="figure">{count(words(part.text), "word")}</span>}
          {part.kind !== "full" && <span class="tag">{part.kind}</span>}
        </>
      }
    >
      <div class="thoughts" ref={box} tabIndex={streaming ? 0 : undefined}>
        <Markdown text={part.text} done={!streaming} rev={part.rev} />
      </div>
    </Fold>
  );
});

/** Keep the end of a box in sight while it grows, as long as the reader has not scrolled away from it. */
function useFollow(box: { current: HTMLDivElement | null }, rev: number, active: boolean): void {
  const follow = useRef(true);
  useLayoutEffect(() => {
    const el = box.current;
    if (!el || !active) return;
    if (follow.current) el.scrollTop = el.scrollHeight;
    const note = () => (follow.current = el.scrollHeight - el.scrollTop - el.clientHeight < 24);
    el.addEventListener("scroll", note, { passive: true });
    return () => el.removeEventListener("scroll", note);
  }, [rev, active]);
}
