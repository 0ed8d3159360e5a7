// When each node ran: one row a visit, the wait for its first word lighter, waits hatched, new beginnings as ticks.
import type { Feed } from "../core/feed";
import { duration } from "../core/format";
import type { NodeState, RunState } from "../core/state";
import { Icon } from "./icons";
import { Fold } from "./parts";

const ROWS = 200;

export function Timeline({ feed, run, live }: { feed: Feed; run: RunState; live: boolean; rev: number }) {
  if (run.nodes.length < 2) return null;
  return (
    <Fold
      feed={feed}
      id="timeline"
      class="tool timeline"
      open={false}
      summary={
        <>
          <Icon name="clock" />
          <span class="title">Timeline</span>
        </>
      }
    >
      <Rows feed={feed} run={run} live={live} />
    </Fold>
  );
}

function Rows({ feed, run, live }: { feed: Feed; run: RunState; live: boolean }) {
  const from = run.startedAt ?? run.nodes[0]!.startedAt;
  const to = Math.max(run.lastTimestamp, from + 0.001);
  const share = (at: number) => `${Math.min(100, Math.max(0, ((at - from) / (to - from)) * 100)).toFixed(2)}%`;
  const span = (a: number, b: number) => ({ left: share(a), width: `calc(${share(from + Math.max(0, b - a))})` });
  const shown = run.nodes.slice(-ROWS);
  return (
    <div class="rows">
      {shown.length < run.nodes.length && <p class="note">The last {ROWS} of {run.nodes.length} visits.</p>}
      {shown.map((node) => (
        <button key={node.key} type="button" class={`row ${node.status}`} title={told(node, from)} onClick={() => feed.filter(node.id)}>
          <span class="who">
            {node.id}
            {node.visit > 0 && <span class="figure"> {node.visit + 1}</span>}
          </span>
          <span class="track">
            <i class="ran" style={span(node.startedAt, node.endedAt ?? to)} />
            {node.firstAt !== null && <i class="first" style={span(node.startedAt, node.firstAt)} />}
            {node.waits.map(([a, b], i) => (
              <i key={i} class="wait" style={span(a, Math.min(b, node.endedAt ?? to))} />
            ))}
            {node.retriedAt.map((at, i) => (
              <i key={i} class="tick" style={{ left: share(at) }} />
            ))}
          </span>
          <span class="figure">{node.endedAt === null ? (live ? "…" : "") : duration((node.endedAt - node.startedAt) * 1000)}</span>
        </button>
      ))}
      <div class="row scale" aria-hidden="true">
        <span class="who" />
        <span class="track">
          <span>0 s</span>
          <span>{duration(((to - from) / 2) * 1000)}</span>
          <span>{duration((to - from) * 1000)}</span>
        </span>
        <span class="figure" />
      </div>
    </div>
  );
}

function told(node: NodeState, from: number): string {
  const ms = (at: number) => duration((at - from) * 1000);
  const words = [`${node.id}: from ${ms(node.startedAt)}`];
  if (node.firstAt !== null) words.push(`first word at ${ms(node.firstAt)}`);
  if (node.endedAt !== null) words.push(`to ${ms(node.endedAt)}`);
  if (node.retriedAt.length) words.push(`begun again ${node.retriedAt.length === 1 ? "once" : `${node.retriedAt.length} times`}`);
  return words.join(", ");
}
