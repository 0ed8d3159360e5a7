import { useEffect, useLayoutEffect, useReducer, useRef, useState } from "preact/hooks";
import type { Feed } from "../core/feed";
import { count, cost, duration, own, tokens, words } from "../core/format";
import { questions } from "../core/ask";
import { MANY, namesOf, opened } from "../core/reading";
import { safeImage } from "../core/markdown";
import { answer, type NodeState, type RunState, type RunStatus } from "../core/state";
import { AgainPlace, GraphPlace, TimelinePlace } from "./drawn";
import { Problem } from "./errors";
import { Icon, type IconName } from "./icons";
import { Markdown } from "./markdown";
import { NodeView } from "./node";
import { CopyButton, Fold } from "./parts";
import { Card, SourceList } from "./sources";
import { UsageButton, UsageTable } from "./usage";
import { unwrapped, Value } from "./value";

const STATES: Record<RunStatus, [IconName, string]> = {
  pending: ["spinner", "Starting"],
  running: ["spinner", "Running"],
  completed: ["check", "Done"],
  interrupted: ["pause", "Waiting"],
  failed: ["cross", "Failed"],
  cancelled: ["stop", "Stopped"],
  budget: ["warn", "Over budget"],
  timeout: ["clock", "Timed out"],
};

const stateOf = (run: RunState): [IconName, string] => own(STATES, run.status) ?? ["stop", "Ended"];

/** Nodes shown by name even when they have nothing to show. */
const NAMED = 30;

export function RunView({ feed }: { feed: Feed }) {
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  // Before the browser paints: what comes between a first drawing and a later effect would be seen by nobody.
  useLayoutEffect(() => feed.subscribe(() => redraw(undefined)), [feed]);
  const root = useRef<HTMLElement>(null);
  const { run } = feed;
  const live = run.status === "pending" || run.status === "running";
  return (
    <section class={`run ${run.status}`} aria-label={run.graphId ? `Run of ${run.graphId}` : "Run"} ref={root}>
      <Header feed={feed} run={run} live={live} rev={run.rev} />
      {run.incomplete && (
        <p class="note">
          <Icon name="clock" />
          An earlier part of this run is not here yet; the kernel sends it when it is free.
        </p>
      )}
      <GraphPlace feed={feed} run={run} rev={run.rev} />
      {feed.only !== null && (
        <p class="only">
          Only <strong>{feed.only}</strong>
          <button type="button" class="quiet" onClick={() => feed.filter(null)}>
            Show all
          </button>
        </p>
      )}
      <div class="transcript" role="log" aria-live="off" aria-busy={live}>
        <Nodes key={feed.mended} feed={feed} run={run} />
      </div>
      {!live && feed.only === null && <Output run={run} />}
      <SourceList feed={feed} run={run} />
      <Problem run={run} />
      {!live && <AgainPlace feed={feed} />}
      <TimelinePlace feed={feed} run={run} live={live} rev={run.rev} />
      <Status run={run} live={live} />
      <Card feed={feed} root={root} />
    </section>
  );
}

function Nodes({ feed, run }: { feed: Feed; run: RunState }) {
  const several = run.nodes.length > 1;
  const all = run.nodes.length <= NAMED;
  const only = feed.only;
  const within = only === null ? run.nodes : run.nodes.filter((n) => n.id === only || n.id.startsWith(`${only}.`));
  if (only !== null && !within.length) return <p class="note">It has not started.</p>;
  const shown = within.filter((n) => only !== null || all || n.parts.length || n.error || n.status === "running").slice(-300);
  const open = opened(run);
  const view = (node: NodeState) => (
    <NodeView key={node.key} feed={feed} node={node} rev={node.rev} named={several} open={only !== null || open.has(node)} run={run} />
  );
  const hidden = within.length - shown.length;
  return (
    <>
      {hidden > 0 && <p class="note">{count(hidden, "node")} with nothing to show or further back</p>}
      {rows(shown, (node) => !several || only !== null || open.has(node)).map((row) =>
        Array.isArray(row) ? <Earlier key={`${row[0]!.key} and on`} feed={feed} run={run} nodes={row} /> : view(row),
      )}
    </>
  );
}

/** Nodes in order; many folded ones in a row are one row. */
function rows(nodes: NodeState[], open: (node: NodeState) => boolean): (NodeState | NodeState[])[] {
  const found: (NodeState | NodeState[])[] = [];
  let row: NodeState[] = [];
  const end = () => {
    if (row.length < MANY) found.push(...row);
    else found.push(row);
    row = [];
  };
  for (const node of nodes) {
    if (!open(node)) row.push(node);
    else {
      end();
      found.push(node);
    }
  }
  end();
  return found;
}

function Earlier({ feed, run, nodes }: { feed: Feed; run: RunState; nodes: NodeState[] }) {
  const [title, names] = namesOf(nodes);
  return (
    <Fold
      feed={feed}
      id={`nodes ${nodes[0]!.key}`}
      class="earlier"
      open={false}
      summary={
        <>
          <Icon name="check" />
          <span class="title">{title}</span>
          <span class="args words">{names}</span>
        </>
      }
    >
      {nodes.map((node) => (
        <NodeView key={node.key} feed={feed} node={node} rev={node.rev} named open={false} run={run} />
      ))}
    </Fold>
  );
}

/** What the run returned, when nothing of the transcript says it: a graph of functions. */
function Output({ run }: { run: RunState }) {
  const { output } = run;
  if (output === undefined || output === null || answer(run) || run.nodes.some((n) => n.parts.some((p) => p.type === "tool"))) return null;
  const content = typeof output === "object" && !Array.isArray(output) ? (output as { content?: unknown }).content : output;
  if (content === "") return null;
  return (
    <div class="output">
      {typeof content === "string" ? <Markdown text={content} done rev={0} /> : <Value value={unwrapped(output)} image={safeImage} />}
    </div>
  );
}

function Header({ feed, run, live }: { feed: Feed; run: RunState; live: boolean; rev: number }) {
  const waits = live && questions(run).length > 0;
  const [icon, label]: [IconName, string] = waits ? ["pause", "Waiting for you"] : stateOf(run);
  const [usage, setUsage] = useState(false);
  const text = live ? "" : answer(run);
  return (
    <header>
      <div class="line">
        <div class="facts">
          <span class="state">
            <Icon name={icon} />
            <strong>{feed.detached && live ? "Kernel gone" : feed.stopping && live ? "Stopping" : label}</strong>
          </span>
          {run.graphId && <span class="graph-id">{run.graphId}</span>}
          <Elapsed run={run} live={live && !feed.detached} />
          <UsageButton run={run} open={usage} toggle={() => setUsage(!usage)} />
        </div>
        <span class="actions">
          {text && (
            <CopyButton text={() => text} label="Copy the answer as Markdown">
              Copy
            </CopyButton>
          )}
          {live && !feed.detached && <Stop feed={feed} />}
        </span>
      </div>
      {usage && <UsageTable run={run} rev={run.rev} />}
    </header>
  );
}

function Stop({ feed }: { feed: Feed }) {
  const [late, setLate] = useState(false);
  useEffect(() => {
    if (!feed.stopping) return;
    const timer = setTimeout(() => setLate(true), 2000);
    return () => clearTimeout(timer);
  }, [feed.stopping]);
  if (late) return <span class="hint">The kernel is busy: interrupt it to stop this run.</span>;
  return (
    <button type="button" class="stop" disabled={feed.stopping} onClick={() => feed.stop()}>
      <Icon name="stop" />
      Stop
    </button>
  );
}

function Elapsed({ run, live }: { run: RunState; live: boolean }) {
  // The page's clock may differ from the kernel's: count from when the first event was seen.
  const [seen] = useState(() => Date.now() - Math.max(0, run.lastTimestamp - (run.startedAt ?? run.lastTimestamp)) * 1000);
  const [now, setNow] = useState(seen);
  useEffect(() => {
    if (!live) return;
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [live]);
  if (!live) return run.durationMs === null ? null : <span class="figure">{duration(run.durationMs)}</span>;
  const seconds = Math.floor((now - seen) / 1000);
  return seconds > 0 ? <span class="figure">{duration(seconds * 1000).replace(".0 s", " s")}</span> : null;
}

/** The one thing that a screen reader announces by itself. */
function Status({ run, live }: { run: RunState; live: boolean }) {
  const money = cost(run);
  const used = tokens(run);
  const end = [
    stateOf(run)[1],
    count(words(live ? "" : answer(run)), "word"),
    used === null ? null : count(used, "token"),
    money,
  ];
  return (
    <p class="sr" role="status">
      {live ? (questions(run).length ? "Waiting for your answer" : "Generating") : end.filter(Boolean).join(", ")}
    </p>
  );
}
