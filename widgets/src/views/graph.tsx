// The run's graph as its progress bar: states by colour and icon, a click shows one node's part of the transcript.
import { useMemo } from "preact/hooks";
import type { Feed } from "../core/feed";
import { progressOf, several, type NodeProgress, type Progress } from "../core/flow";
import { count } from "../core/format";
import { HEIGHT, layout, type Layout, type Outline, type OutlineEdge, type OutlineNode, type PlacedEdge, type PlacedNode } from "../core/layout";
import type { RunState } from "../core/state";
import css from "../core/drawings.css";
import inside from "./inside.css";
import { extend } from "../core/theme";
import { Glyph, type IconName } from "./icons";

extend(css + inside);

/** Nodes up to which a graph is drawn; a larger one is a bar. */
const DRAWN = 60;
const NAME = 24;

const ICONS: Record<Progress, IconName> = {
  idle: "dot",
  running: "spinner",
  waiting: "pause",
  completed: "check",
  failed: "cross",
  stopped: "stop",
  skipped: "dash",
};
const WORDS: Record<Progress, string> = {
  idle: "not started",
  running: "running",
  waiting: "waiting for an answer",
  completed: "done",
  failed: "failed",
  stopped: "stopped",
  skipped: "not run",
};

const shorten = (id: string) => (id.length > NAME ? `${id.slice(0, NAME - 1)}…` : id);
/** Widths of letters differ; a node that is a little too wide does no harm. */
const letters = (text: string, each: number) => [...text].reduce((w, c) => w + (/[\u1100-\uffdc]/.test(c) ? 2 : /[A-Zmw@%]/.test(c) ? 1.35 : /[fijlrt.,'|I ]/.test(c) ? 0.6 : 1) * each, 0);
const nameOf = (node: OutlineNode) => shorten(node.name ?? node.id);
/** Room for the button that shows what is inside a node. */
const MORE = 22;
const widthOf = (node: OutlineNode) => Math.ceil(letters(nameOf(node), 7.1)) + 44 + (node.kind === "condition" ? 8 : 0) + (node.inside ? MORE : 0);
const labelWidth = (label: string) => letters(shorten(label), 6);

const bound = (edge: OutlineEdge) => (edge.kind === "loop" ? /^max: (\d+)$/.exec(edge.label ?? "")?.[1] : undefined);
/** What stands at an edge: how often a loop went round, of how often it may; else how often, when more than once. */
function edgeLabel(edge: OutlineEdge, taken: number): string {
  if (edge.kind === "loop") return bound(edge) ? `↻ ${taken}/${bound(edge)}` : taken ? `↻ ${taken}` : "↻";
  const times = taken > 1 ? `×${taken}` : "";
  return [shorten(edge.label ?? ""), times].filter(Boolean).join(" ");
}

export function Graph({ feed, run }: { feed: Feed; run: RunState; rev: number }) {
  const outline = run.flow.outline;
  if (!several(outline)) return null;
  return <Part feed={feed} run={run} outline={outline} progress={progressOf(run)} />;
}

interface PartProps {
  feed: Feed;
  run: RunState;
  outline: Outline;
  progress: Map<string, NodeProgress>;
}

/** A graph, and below it the graphs inside its nodes that the reader opened. */
function Part({ feed, run, outline, progress }: PartProps) {
  const opened = outline.nodes.filter((node) => node.inside && feed.choices.get(`graph ${node.id}`));
  const done = outline.nodes.filter(({ id }) => progress.get(id)!.progress === "completed").length;
  return (
    <>
      <Strip feed={feed} run={run} outline={outline} progress={progress} said={`${done} of ${count(outline.nodes.length, "node")} done`} />
      {opened.map((node) => (
        <div key={node.id} class="inside" role="group" aria-label={`Inside ${node.id}`}>
          <p class="caption">{node.id}</p>
          <Part feed={feed} run={run} outline={node.inside!} progress={progress} />
        </div>
      ))}
    </>
  );
}

/** Where a graph is drawn, as static output draws it (mesh_nb/notebook/_picture.py). */
export const placed = (outline: Outline): Layout => layout(outline, widthOf, labelWidth);

function Strip({ feed, run, outline, progress, said }: PartProps & { said: string }) {
  const drawn = outline.nodes.length <= DRAWN ? outline : null;
  const places = useMemo(() => drawn && placed(drawn), [drawn]);
  if (!places) {
    const done = Number.parseInt(said);
    return (
      <div class="progress">
        <span class="title">{said}</span>
        <progress max={outline.nodes.length} value={done} aria-label={said} />
      </div>
    );
  }
  const { width, height } = places;
  return (
    <div class="graph" tabIndex={0} role="group" aria-label={`Graph: ${said}`}>
      <svg viewBox={`0 0 ${width} ${height}`} width={width} height={height}>
        <defs>
          {["tip", "tip taken"].map((name) => (
            <marker key={name} id={name.replace(" ", "-")} viewBox="0 0 8 8" refX="6.5" refY="4" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">
              <path d="M1 1l6 3-6 3z" class={name} />
            </marker>
          ))}
        </defs>
        {places.edges.map((edge, i) => (
          <Edge key={i} edge={edge} taken={run.flow.taken.get(drawn!.edges.find((e) => same(e, edge))!) ?? 0} />
        ))}
        {places.nodes.map((node) => (
          <Node key={node.id} feed={feed} node={node} state={progress.get(node.id)!} />
        ))}
      </svg>
    </div>
  );
}

const same = (a: OutlineEdge, b: OutlineEdge) =>
  a.source === b.source && a.target === b.target && a.kind === b.kind && a.label === b.label;

function Edge({ edge, taken }: { edge: PlacedEdge; taken: number }) {
  const label = edgeLabel(edge, taken);
  return (
    <g class={`edge ${edge.kind ?? ""} ${taken ? "taken" : ""}`}>
      <path d={edge.path} marker-end={taken ? "url(#tip-taken)" : "url(#tip)"} />
      {label && (
        <text x={edge.at[0]} y={edge.at[1]} dy={edge.kind === "loop" ? 3.5 : edge.down ? 12 : -5}>
          {label}
        </text>
      )}
    </g>
  );
}

/** The outline of a node, by what it is. */
function shape({ kind, width }: PlacedNode): string {
  const [w, h] = [width, HEIGHT];
  if (kind === "condition") return `M11 0H${w - 11}L${w} ${h / 2}L${w - 11} ${h}H11L0 ${h / 2}Z`;
  const r = kind === "agent" || kind === "subgraph" ? h / 2 : kind === "tool" || kind === "function" ? 3 : 8;
  return `M${r} 0H${w - r}A${r} ${r} 0 0 1 ${w} ${r}V${h - r}A${r} ${r} 0 0 1 ${w - r} ${h}H${r}A${r} ${r} 0 0 1 0 ${h - r}V${r}A${r} ${r} 0 0 1 ${r} 0Z`;
}

function Node({ feed, node, state }: { feed: Feed; node: PlacedNode; state: NodeProgress }) {
  const { progress, visits } = state;
  const label = `${node.id}, ${node.kind}, ${WORDS[progress]}${visits > 1 ? `, ${visits} visits` : ""}`;
  const counted = visits > 999 ? "999+" : String(visits);
  const badge = 12 + 6 * counted.length;
  const chosen = feed.only === node.id;
  const choose = () => feed.filter(chosen ? null : node.id);
  const left = node.kind === "condition" ? 13 : 9;
  const box = (
    <g transform={`translate(${node.x} ${node.y})`}>
      <title>{label}</title>
      <g
        class={`box ${progress} ${chosen ? "chosen" : ""}`}
        data-node={node.id}
        role="button"
        tabindex={0}
        aria-pressed={chosen}
        aria-label={label}
        onClick={choose}
        onKeyDown={pressed(choose)}
      >
        <path d={shape(node)} class="face" />
        <Glyph name={ICONS[progress]} x={left} y={7} size={14} />
        <text x={left + 20} y={HEIGHT / 2} dy="0.36em">
          {nameOf(node)}
        </text>
      </g>
      {visits > 1 && (
        <g class={`box ${progress}`} aria-hidden="true" onClick={choose}>
          <g class="visits" transform={`translate(${node.width - badge / 2 + 7} -2)`}>
            <rect x={-badge / 2} y={-7} width={badge} height={14} rx={7} />
            <text dy="0.35em">{counted}</text>
          </g>
        </g>
      )}
    </g>
  );
  if (!node.inside) return box;
  return (
    <>
      {box}
      <Inside feed={feed} node={node} />
    </>
  );
}

const pressed = (act: () => void) => (event: KeyboardEvent) => {
  if (event.key !== "Enter" && event.key !== " ") return;
  event.preventDefault();
  act();
};

/** The button in a node's box that shows the graph inside it, and takes it away. */
function Inside({ feed, node }: { feed: Feed; node: PlacedNode }) {
  const id = `graph ${node.id}`;
  const open = feed.choices.get(id) === true;
  const toggle = () => {
    feed.choices.set(id, !open);
    feed.filter(feed.only);
  };
  return (
    <g
      class={`more ${open ? "open" : ""}`}
      transform={`translate(${node.x + node.width - MORE - 4} ${node.y + HEIGHT / 2 - 9})`}
      data-inside={node.id}
      role="button"
      tabindex={0}
      aria-expanded={open}
      aria-label={`${count(node.inside!.nodes.length, "node")} inside ${node.id}`}
      onClick={toggle}
      onKeyDown={pressed(toggle)}
    >
      <rect width={18} height={18} rx={4} />
      <g transform={open ? "rotate(90 9 9)" : undefined}>
        <Glyph name="chevron" x={3} y={3} size={12} />
      </g>
    </g>
  );
}
