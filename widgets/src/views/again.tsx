// What a reader may do with a run that has ended early: go on with it, run it again, copy a report.
import { useEffect, useLayoutEffect, useReducer, useState } from "preact/hooks";
import type { Feed, Verb } from "../core/feed";
import { report } from "./errors";
import { Icon } from "./icons";
import { CopyButton } from "./parts";

const LABELS: Record<Verb, [name: string, about: string]> = {
  resume: ["Resume", "Go on where the run stopped: what is done is not paid for again"],
  rerun: ["Run again", "Run all of it anew, and pay for it anew"],
};
const PATIENCE = 2500;

export function Again({ feed, copy }: { feed: Feed; copy?: boolean }) {
  const { offer, chosen, refused, run } = feed;
  const [late, setLate] = useState(false);
  useEffect(() => {
    setLate(false);
    if (!chosen) return;
    const timer = setTimeout(() => setLate(true), PATIENCE);
    return () => clearTimeout(timer);
  }, [chosen]);
  if (!offer) return null;
  const failed = run.nodes.find((node) => node.error !== null);
  const error = failed?.error ?? run.error;
  return (
    <div class="again" role="group" aria-label="This run">
      <div class="buttons">
        {offer.verbs.map((verb, i) => (
          <button key={verb} type="button" class={i ? "plain" : "main"} title={LABELS[verb][1]} disabled={chosen !== null} onClick={() => feed.again(verb)}>
            {chosen === verb && <Icon name="spinner" />}
            {LABELS[verb][0]}
          </button>
        ))}
        {copy && error && (
          <CopyButton text={() => report(run, error, failed)} label="Copy report of this error">
            Copy report
          </CopyButton>
        )}
      </div>
      <p class="hint" role="status">
        {refused || (late && "The kernel is busy: the run goes on when the running cell has ended.")}
      </p>
    </div>
  );
}

/** The buttons alone, at static output. */
export function Bar({ feed }: { feed: Feed }) {
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  useLayoutEffect(() => feed.subscribe(() => redraw(undefined)), [feed]);
  return (
    <section class="run bar">
      <Again feed={feed} copy />
    </section>
  );
}
