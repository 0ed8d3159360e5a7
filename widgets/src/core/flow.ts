// How far a run is in its graph: which nodes were entered, and by which edges. Pure.
import { cleaned } from "./cite";
import type { Outline, OutlineEdge, OutlineNode } from "./layout";
import type { NodeState, RunState } from "./state";

export interface Flow {
  outline: Outline | null;
  /** When a node was last entered and left, counted in steps. */
  entered: Map<string, number>;
  left: Map<string, number>;
  /** How often an edge was taken, by its place in the outline. */
  taken: Map<OutlineEdge, number>;
  steps: number;
  /** The step at which the last node began. */
  last: number;
}

export const newFlow = (): Flow => ({ outline: null, entered: new Map(), left: new Map(), taken: new Map(), steps: 0, last: 0 });

type Fields = Record<string, unknown>;
const list = (value: unknown): Fields[] =>
  Array.isArray(value) ? value.filter((v): v is Fields => v !== null && typeof v === "object") : [];

/** The graph that execution_start carries; null when it has none or it is not one. */
export function outlineOf(value: unknown): Outline | null {
  const given = (value ?? {}) as Fields;
  const nodes: OutlineNode[] = [];
  for (const n of list(given["nodes"])) {
    const id = cleaned(n["id"]);
    if (id && !nodes.some((m) => m.id === id)) nodes.push({ id, kind: cleaned(n["kind"]) || "node" });
  }
  const edges = list(given["edges"]).map((e): OutlineEdge => {
    const kind = e["kind"];
    return {
      source: cleaned(e["source"]),
      target: cleaned(e["target"]),
      ...(kind === "loop" || kind === "conditional" ? { kind } : {}),
      ...(typeof e["label"] === "string" && e["label"] ? { label: cleaned(e["label"]) } : {}),
    };
  });
  return nodes.length ? { nodes, edges } : null;
}

/** A node begins a visit: the edges from what has ended since its last visit were taken. */
export function enter(flow: Flow, id: string): void {
  const since = flow.entered.get(id) ?? 0;
  for (const edge of flow.outline?.edges ?? [])
    if (edge.target === id && (flow.left.get(edge.source) ?? 0) > since) flow.taken.set(edge, (flow.taken.get(edge) ?? 0) + 1);
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

/** How each node of the outline stands; what runs inside a node is part of it. */
export function progressOf(run: RunState): Map<string, NodeProgress> {
  const over = run.status !== "running" && run.status !== "pending" && run.status !== "interrupted";
  const found = new Map<string, NodeProgress>();
  for (const { id } of run.flow.outline?.nodes ?? []) found.set(id, { progress: over ? "skipped" : "idle", visits: 0 });
  for (const node of run.nodes) {
    const own = found.get(node.id);
    const of = own ?? found.get(node.id.slice(0, Math.max(0, node.id.indexOf("/"))));
    if (!of) continue;
    if (own) of.visits++;
    const waits = isWaiting(node);
    if (waits) of.progress = "waiting";
    else if (own && !(of.progress === "running" && node.status === "completed")) of.progress = node.status;
  }
  return found;
}

export const isWaiting = (node: NodeState): boolean =>
  node.status === "running" && node.parts.some((p) => p.type === "interrupt" && p.resolved === null);
