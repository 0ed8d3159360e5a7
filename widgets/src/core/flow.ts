// How far a run is in its graph: which nodes were entered, and by which edges. Pure.
import { cleaned } from "./cite";
import type { Outline, OutlineEdge, OutlineNode } from "./layout";
import type { NodeState, RunState } from "./state";

export interface Flow {
  outline: Outline | null;
  /** The edges that lead to a node, of the graph and of the graphs inside it. */
  into: Map<string, OutlineEdge[]>;
  /** When a node was last entered and left, counted in steps. */
  entered: Map<string, number>;
  left: Map<string, number>;
  /** How often an edge was taken, by its place in the outline. */
  taken: Map<OutlineEdge, number>;
  steps: number;
  /** The step at which the last node began. */
  last: number;
}

export const newFlow = (): Flow => ({ outline: null, into: new Map(), entered: new Map(), left: new Map(), taken: new Map(), steps: 0, last: 0 });

type Fields = Record<string, unknown>;
const list = (value: unknown): Fields[] =>
  Array.isArray(value) ? value.filter((v): v is Fields => v !== null && typeof v === "object") : [];

/** How deep graphs inside graphs are read. */
const DEPTH = 4;

/** The graph that execution_start carries; null when it has none or it is not one. Ids are those of the events. */
export function outlineOf(value: unknown, prefix = "", depth = 0): Outline | null {
  const given = (value ?? {}) as Fields;
  const nodes: OutlineNode[] = [];
  const known = new Set<string>();
  for (const n of list(given["nodes"])) {
    const name = cleaned(n["id"]);
    if (!name || known.has(name)) continue;
    known.add(name);
    const id = prefix + name;
    const inside = depth < DEPTH ? outlineOf(n["graph"], `${id}.`, depth + 1) : null;
    nodes.push({ id, kind: cleaned(n["kind"]) || "node", ...(prefix ? { name } : {}), ...(inside ? { inside } : {}) });
  }
  const edges = list(given["edges"]).map((e): OutlineEdge => {
    const kind = e["kind"];
    return {
      source: prefix + cleaned(e["source"]),
      target: prefix + cleaned(e["target"]),
      ...(kind === "loop" || kind === "conditional" ? { kind } : {}),
      ...(typeof e["label"] === "string" && e["label"] ? { label: cleaned(e["label"]) } : {}),
    };
  });
  return nodes.length ? { nodes, edges } : null;
}

/** Whether there is more to draw of a graph than one box. */
export const several = (outline: Outline | null): outline is Outline =>
  outline !== null && (outline.nodes.length > 1 || outline.nodes.some(({ inside }) => several(inside ?? null)));

/** Take in the graph of a run. */
export function outlined(flow: Flow, value: unknown): void {
  flow.outline = outlineOf(value);
  flow.into.clear();
  const add = (outline: Outline) => {
    for (const edge of outline.edges) {
      const others = flow.into.get(edge.target);
      if (others) others.push(edge);
      else flow.into.set(edge.target, [edge]);
    }
    for (const { inside } of outline.nodes) if (inside) add(inside);
  };
  if (flow.outline) add(flow.outline);
}

/** The ids of the nodes that a node may run inside of, the outermost first: "a" and "a.b" for "a.b.c". */
export function hosts(id: string): string[] {
  const found: string[] = [];
  for (let at = id.indexOf("."); at > 0; at = id.indexOf(".", at + 1)) found.push(id.slice(0, at));
  return found;
}

/** A node begins a visit: the edges from what has ended since its last visit were taken. */
export function enter(flow: Flow, id: string): void {
  const since = flow.entered.get(id) ?? 0;
  for (const edge of flow.into.get(id) ?? [])
    if ((flow.left.get(edge.source) ?? 0) > since) flow.taken.set(edge, (flow.taken.get(edge) ?? 0) + 1);
  flow.entered.set(id, (flow.last = ++flow.steps));
}

/** A node completes a visit; returns the step. */
export function leave(flow: Flow, id: string): number {
  flow.left.set(id, ++flow.steps);
  return flow.steps;
}

export type Progress = "idle" | "running" | "waiting" | "completed" | "failed" | "stopped" | "skipped";
export interface NodeProgress {
  progress: Progress;
  visits: number;
}

/** How each node stands, also of graphs inside; a node waits when one inside it does. */
export function progressOf(run: RunState): Map<string, NodeProgress> {
  const over = run.status !== "running" && run.status !== "pending" && run.status !== "interrupted";
  const found = new Map<string, NodeProgress>();
  const add = (outline: Outline | null | undefined) => {
    for (const { id, inside } of outline?.nodes ?? []) {
      found.set(id, { progress: over ? "skipped" : "idle", visits: 0 });
      add(inside);
    }
  };
  add(run.flow.outline);
  for (const node of run.nodes) {
    const own = found.get(node.id);
    const waits = isWaiting(node);
    if (own) {
      own.visits++;
      if (waits) own.progress = "waiting";
      else if (!(own.progress === "running" && node.status === "completed")) own.progress = node.status;
    }
    if (waits)
      for (const id of hosts(node.id)) {
        const host = found.get(id);
        if (host) host.progress = "waiting";
      }
  }
  return found;
}

export const isWaiting = (node: NodeState): boolean =>
  node.status === "running" && node.parts.some((p) => p.type === "interrupt" && p.resolved === null);
