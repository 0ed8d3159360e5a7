// Where the graph and the timeline of a run stand. Their module comes with the first run of several nodes;
// until then the graph's room is kept, so that nothing moves when it is drawn.
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Feed } from "../core/feed";
import { several } from "../core/flow";
import { drawings, type Drawings } from "../core/more";
import type { RunState } from "../core/state";

/** The module once it is here; it is asked for when it is wanted. */
function useDrawings(wanted: boolean): Drawings | null {
  const [, redraw] = useState(0);
  const waits = wanted && !drawings.here;
  useEffect(() => (waits ? drawings.use(() => redraw((n) => n + 1)) : undefined), [waits]);
  return wanted ? drawings.here : null;
}

/** Pixels of a graph of one row with what is around it, of one more row, and of ways back; as core/layout.ts and theme.css have them. */
const FIRST = 34 + 12;
const ROW = 42;
const BACK = 10;

interface Props {
  feed: Feed;
  run: RunState;
  rev: number;
}

export function GraphPlace({ feed, run, rev }: Props) {
  const outline = run.flow.outline;
  const drawn = useDrawings(several(outline));
  if (!several(outline)) return null;
  if (drawn) return <drawn.Graph feed={feed} run={run} rev={rev} />;
  // What begins side by side stands in one column.
  const begun = new Map<string, number>();
  for (const edge of outline.edges) if (edge.kind !== "loop") begun.set(edge.source, (begun.get(edge.source) ?? 0) + 1);
  const rows = Math.max(1, ...begun.values());
  const back = outline.edges.filter((e) => e.kind === "loop").length;
  return <Room height={FIRST + (rows - 1) * ROW + (back ? back * BACK + 4 : 0)} />;
}

const Room = ({ height }: { height: number }): ComponentChildren => <div class="graph" style={{ height: `${height}px`, marginBottom: "12px" }} aria-hidden="true" />;

export function TimelinePlace({ feed, run, live, rev }: Props & { live: boolean }) {
  const drawn = useDrawings(run.nodes.length > 1);
  return drawn ? <drawn.Timeline feed={feed} run={run} live={live} rev={rev} /> : null;
}

/** What may be done with a run that ended early. */
export function AgainPlace({ feed }: { feed: Feed }) {
  const drawn = useDrawings(feed.offer !== null);
  return drawn ? <drawn.Again feed={feed} /> : null;
}
