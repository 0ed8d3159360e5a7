// When each node ran: one row a visit, the wait for its first word lighter, waits hatched, new beginnings as ticks.
// Only the rows in sight are drawn. Dragging over the chart zooms in.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Feed } from "../core/feed";
import { count, duration } from "../core/format";
import { moment, moved, scaled, within, type Span } from "../core/span";
import type { NodeState, RunState } from "../core/state";
import { extend } from "../core/theme";
import { Icon } from "./icons";
import { Fold } from "./parts";
import css from "./timeline.css";

extend(css);

/** Pixels of a row, as timeline.css has it; rows up to which all are drawn; rows drawn beyond those in sight. */
const ROW = 22;
const ALL = 60;
const BEYOND = 10;
const SIGHT = 480;
/** Pixels that the pointer moves before it drags. */
const DRAG = 5;

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
  const begin = run.startedAt ?? run.nodes[0]!.startedAt;
  const whole: Span = [begin, Math.max(run.lastTimestamp, begin + 0.001)];
  const [zoom, setZoom] = useState<Span | null>(null);
  const [top, setTop] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useRef(live);
  const shown = zoom ?? whole;
  const show = (span: Span | null) => {
    setZoom(span && within(span, whole));
    box.current!.scrollTop = 0;
    setTop(0);
    atEnd.current = false;
  };
  const { brush, handlers } = useBrush(box, shown, show);
  const end = (node: NodeState) => node.endedAt ?? whole[1];
  const nodes = zoom ? run.nodes.filter((node) => node.startedAt <= zoom[1] && end(node) >= zoom[0]) : run.nodes;
  const first = nodes.length <= ALL ? 0 : Math.min(Math.max(0, Math.floor(top / ROW) - BEYOND), nodes.length - 1);
  const last = nodes.length <= ALL ? nodes.length : first + Math.ceil((box.current?.clientHeight || SIGHT) / ROW) + 2 * BEYOND;
  useLayoutEffect(() => {
    const el = box.current!;
    if (live && !zoom && atEnd.current) el.scrollTop = el.scrollHeight;
  });
  const onScroll = () => {
    const el = box.current!;
    atEnd.current = el.scrollTop + el.clientHeight >= el.scrollHeight - ROW;
    if (nodes.length > ALL) setTop(el.scrollTop);
  };
  return (
    <>
      <div class="zoom">
        <span class="note">{zoom ? `${moment(shown[0] - begin, shown[1] - shown[0])} to ${moment(shown[1] - begin, shown[1] - shown[0])}: ${nodes.length.toLocaleString("en-US")} of ${count(run.nodes.length, "visit")}` : count(nodes.length, "visit")}</span>
        {zoom && (
          <button type="button" class="quiet" onClick={() => show(null)}>
            Whole run
          </button>
        )}
        <button type="button" class="quiet" aria-label="Zoom out" disabled={!zoom} onClick={() => show(scaled(shown, 2))}>
          −
        </button>
        <button type="button" class="quiet" aria-label="Zoom in" title="Or drag over the chart" onClick={() => show(scaled(shown, 0.5))}>
          +
        </button>
      </div>
      <div class="rows" ref={box} onScroll={onScroll} {...handlers}>
        <Axis begin={begin} shown={shown} onKeyDown={(event) => steer(event, shown, whole, show)} />
        {brush}
        <div style={{ height: `${first * ROW}px` }} />
        {nodes.slice(first, last).map((node) => (
          <Row key={node.key} feed={feed} run={run} node={node} live={live} begin={begin} end={end(node)} shown={shown} />
        ))}
        <div style={{ height: `${Math.max(0, nodes.length - last) * ROW}px` }} />
      </div>
    </>
  );
}

function Axis({ begin, shown: [from, to], onKeyDown }: { begin: number; shown: Span; onKeyDown(event: KeyboardEvent): void }) {
  const at = (share: number) => moment(from + (to - from) * share - begin, to - from);
  const label = `Time from ${at(0)} to ${at(1)}. Plus and minus zoom, the arrow keys move, 0 shows the whole run.`;
  return (
    <div class="row axis" tabIndex={0} role="group" aria-label={label} onKeyDown={onKeyDown}>
      <span class="who" />
      <span class="track" aria-hidden="true">
        {[0, 0.5, 1].map((share) => (
          <span key={share}>{at(share)}</span>
        ))}
      </span>
      <span class="figure" />
    </div>
  );
}

function steer(event: KeyboardEvent, shown: Span, whole: Span, show: (span: Span) => void): void {
  const { key } = event;
  const to = key === "+" || key === "=" ? scaled(shown, 0.5) : key === "-" ? scaled(shown, 2) : key === "ArrowLeft" ? moved(shown, -0.25, whole) : key === "ArrowRight" ? moved(shown, 0.25, whole) : key === "0" || key === "Escape" ? whole : null;
  if (!to) return;
  event.preventDefault();
  show(to);
}

/** A stretch of the chart chosen with the pointer. A press that does not move stays a click. */
function useBrush(box: { current: HTMLDivElement | null }, shown: Span, show: (span: Span) => void) {
  const pressed = useRef<{ x: number; id: number } | null>(null);
  const dragged = useRef(false);
  const [to, setTo] = useState<number | null>(null);
  const track = () => box.current!.querySelector(".axis .track")!.getBoundingClientRect();
  const edges = (x: number): [number, number] => {
    const { left, right } = track();
    const clamped = (v: number) => Math.min(Math.max(v, left), right);
    return [clamped(Math.min(pressed.current!.x, x)), clamped(Math.max(pressed.current!.x, x))];
  };
  const stop = () => {
    pressed.current = null;
    setTo(null);
  };
  const handlers = {
    onPointerDown(event: PointerEvent) {
      dragged.current = false;
      const { left, right } = track();
      const [x, id] = [event.clientX, event.pointerId];
      if (event.button === 0 && x >= left && x <= right) pressed.current = { x, id };
    },
    onPointerMove(event: PointerEvent) {
      const from = pressed.current;
      if (!from || from.id !== event.pointerId) return;
      if (!dragged.current && Math.abs(event.clientX - from.x) < DRAG) return;
      if (!dragged.current) box.current!.setPointerCapture?.(from.id);
      dragged.current = true;
      setTo(event.clientX);
    },
    onPointerUp(event: PointerEvent) {
      if (pressed.current && dragged.current) {
        const { left, width } = track();
        const time = (x: number) => shown[0] + ((x - left) / (width || 1)) * (shown[1] - shown[0]);
        const [a, b] = edges(event.clientX);
        show([time(a), time(b)]);
      }
      stop();
    },
    onPointerCancel: stop,
    onClickCapture(event: MouseEvent) {
      if (!dragged.current) return;
      dragged.current = false;
      event.stopPropagation();
      event.preventDefault();
    },
  };
  let brush = null;
  if (to !== null && pressed.current) {
    const el = box.current!;
    const [a, b] = edges(to);
    const left = a - el.getBoundingClientRect().left;
    brush = <i class="brush" style={{ left: `${left}px`, width: `${b - a}px`, top: `${el.scrollTop}px`, height: `${el.clientHeight}px` }} />;
  }
  return { brush, handlers };
}

interface RowProps {
  feed: Feed;
  run: RunState;
  node: NodeState;
  live: boolean;
  begin: number;
  end: number;
  shown: Span;
}

function Row({ feed, run, node, live, begin, end, shown: [from, to] }: RowProps) {
  const share = (at: number) => Math.min(100, Math.max(0, ((at - from) / (to - from)) * 100));
  const bar = (name: string, a: number, b: number, key?: number) =>
    b < from || a > to ? null : <i key={key} class={name} style={{ left: `${share(a).toFixed(2)}%`, width: `${(share(b) - share(a)).toFixed(2)}%` }} />;
  return (
    <button type="button" class={`row ${node.status}`} title={told(run, node, begin)} onClick={() => feed.filter(node.id)}>
      <span class="who">
        {node.id}
        {node.visit > 0 && <span class="figure"> {node.visit + 1}</span>}
      </span>
      <span class="track">
        {bar("ran", node.startedAt, end)}
        {node.firstAt !== null && bar("first", node.startedAt, node.firstAt)}
        {node.waits.map(([a, b], i) => bar("wait", a, Math.min(b, end), i))}
        {node.retriedAt.map((at, i) => at >= from && at <= to && <i key={i} class="tick" style={{ left: `${share(at).toFixed(2)}%` }} />)}
      </span>
      <span class="figure">{node.endedAt === null ? (live ? "…" : "") : duration((node.endedAt - node.startedAt) * 1000)}</span>
    </button>
  );
}

function told(run: RunState, node: NodeState, from: number): string {
  const ms = (at: number) => duration((at - from) * 1000);
  const words = [`${node.id}: from ${ms(node.startedAt)}`];
  if (node.firstAt !== null) words.push(`first word at ${ms(node.firstAt)}`);
  if (node.endedAt !== null) words.push(`to ${ms(node.endedAt)}`);
  const waited = node.waits.reduce((sum, [a, b]) => sum + b - a, 0);
  if (waited > 0) words.push(`waited ${duration(waited * 1000)}`);
  if (node.retriedAt.length) words.push(`begun again ${node.retriedAt.length === 1 ? "once" : `${node.retriedAt.length} times`}`);
  const calls = run.calls.filter((call) => call.nodeId === node.id && call.visit === node.visit && call.durationMs);
  const tokens = calls.reduce((sum, call) => sum + (call.usage.completion_tokens ?? 0), 0);
  const spent = calls.reduce((sum, call) => sum + call.durationMs! - (call.firstTokenMs ?? 0), 0);
  if (tokens && spent > 0) words.push(`${Math.round((tokens / spent) * 1000)} tokens/s`);
  return words.join(", ");
}
