// Where the nodes and edges of a graph are drawn: layers from left to right. Pure and deterministic.

export interface OutlineNode {
  id: string;
  kind: string;
  /** What is shown of the id, where it is not all of it. */
  name?: string;
  /** The graph that this node runs. */
  inside?: Outline;
}
export interface OutlineEdge {
  source: string;
  target: string;
  kind?: "loop" | "conditional";
  label?: string;
}
export interface Outline {
  nodes: OutlineNode[];
  edges: OutlineEdge[];
}

export interface PlacedNode extends OutlineNode {
  x: number;
  y: number;
  width: number;
}
export interface PlacedEdge extends OutlineEdge {
  path: string;
  /** Where its label stands. */
  at: [number, number];
  /** Whether it leads downwards: its label then stands below. */
  down: boolean;
  /** How far right it goes beside a column; 0 for one that stays between its nodes. */
  right: number;
}
export interface Layout {
  nodes: PlacedNode[];
  edges: PlacedEdge[];
  width: number;
  height: number;
}

export const HEIGHT = 28;
const ROW = 14;
const GAP = 40;
const EDGE_ROW = 10;
const MARGIN = 3;
/** How far beside a column a way back goes down, and how round its corners are. */
const LANE = 11;
const CORNER = 9;
const SWEEPS = 8;

/** A node, or a place where a long edge crosses a layer. */
interface Spot {
  width: number;
  height: number;
  x: number;
  y: number;
  layer: number;
  before: Spot[];
  after: Spot[];
}

/** Place a graph. `widthOf` gives the width of a node in pixels, `labelWidth` that of an edge's label. */
export function layout(
  graph: Outline,
  widthOf: (node: OutlineNode) => number,
  labelWidth: (label: string) => number = () => 0,
): Layout {
  const index = new Map(graph.nodes.map((node, i) => [node.id, i]));
  const known = graph.edges.filter((e) => index.has(e.source) && index.has(e.target));
  const ends = (e: OutlineEdge): [number, number] => [index.get(e.source)!, index.get(e.target)!];
  const back = backEdges(graph.nodes.length, known.map(ends), known.map((e) => e.kind === "loop"));
  const layer = layers(graph.nodes.length, known.filter((_, k) => !back.has(k)).map(ends));
  const spots: Spot[] = graph.nodes.map((node, i) => spot(layer[i]!, widthOf(node), HEIGHT));
  const rows: Spot[][] = [];
  spots.forEach((s) => (rows[s.layer] ??= []).push(s));
  const chains = known.map((e, k) => (back.has(k) ? null : chain(spots, ends(e), rows)));
  order(rows);
  rows.forEach(stack);
  for (let i = 0; i < SWEEPS; i++) for (const row of i % 2 ? rows.toReversed() : rows) align(row, i % 2 ? "after" : "before");
  columns(rows, known, chains, labelWidth);
  const top = Math.min(...spots.map((s) => s.y));
  rows.flat().forEach((s) => (s.y += MARGIN - top));
  const bottom = Math.max(0, ...rows.flat().map((s) => s.y + s.height));
  let below = bottom;
  const edges = known.map((e, k): PlacedEdge => {
    const via = chains[k];
    if (via) return { ...e, ...through(via) };
    below += EDGE_ROW;
    const [source, target] = ends(e);
    const side = (s: Spot) => sideOf(s, spots);
    return { ...e, ...around(spots[source]!, spots[target]!, below, side) };
  });
  return {
    nodes: graph.nodes.map((node, i) => ({ ...node, x: spots[i]!.x, y: spots[i]!.y, width: spots[i]!.width })),
    edges,
    width: Math.max(0, ...spots.map((s) => s.x + s.width), ...edges.map((e) => e.right)) + MARGIN,
    height: below + MARGIN + (below > bottom ? 4 : 0),
  };
}

const spot = (layer: number, width: number, height: number): Spot => ({ width, height, x: 0, y: 0, layer, before: [], after: [] });

/** The edges that go back: those that say so, and what closes a cycle. Iterative, for chains of any length. */
function backEdges(count: number, ends: [number, number][], loops: boolean[]): Set<number> {
  const back = new Set<number>(loops.flatMap((loop, k) => (loop ? [k] : [])));
  const out: number[][] = Array.from({ length: count }, () => []);
  ends.forEach(([source], k) => back.has(k) || out[source]!.push(k));
  const state = new Uint8Array(count);
  for (let root = 0; root < count; root++) {
    const path: [number, number][] = [[root, 0]];
    if (state[root]) continue;
    state[root] = 1;
    while (path.length) {
      const top = path.at(-1)!;
      const k = out[top[0]]![top[1]++];
      if (k === undefined) {
        state[top[0]] = 2;
        path.pop();
        continue;
      }
      const target = ends[k]![1];
      if (state[target] === 1) back.add(k);
      else if (!state[target]) {
        state[target] = 1;
        path.push([target, 0]);
      }
    }
  }
  return back;
}

/** The layer of each node: one after the last of its parents. */
function layers(count: number, ends: [number, number][]): number[] {
  const need = new Array<number>(count).fill(0);
  const out: number[][] = Array.from({ length: count }, () => []);
  for (const [source, target] of ends) {
    out[source]!.push(target);
    need[target]!++;
  }
  const found = new Array<number>(count).fill(0);
  const ready = need.flatMap((n, i) => (n ? [] : [i]));
  for (let at = 0; at < ready.length; at++) {
    const node = ready[at]!;
    for (const target of out[node]!) {
      found[target] = Math.max(found[target]!, found[node]! + 1);
      if (!--need[target]!) ready.push(target);
    }
  }
  return found;
}

/** Connect two nodes, with a spot in each layer between them. */
function chain(spots: Spot[], [source, target]: [number, number], rows: Spot[][]): Spot[] {
  const from = spots[source]!;
  const to = spots[target]!;
  const via = [from];
  for (let layer = from.layer + 1; layer < to.layer; layer++) {
    const between = spot(layer, 0, 6);
    rows[layer]!.push(between);
    via.push(between);
  }
  via.push(to);
  for (let i = 1; i < via.length; i++) {
    via[i - 1]!.after.push(via[i]!);
    via[i]!.before.push(via[i - 1]!);
  }
  return via;
}

/** Order each layer by the middle of its neighbours, back and forth. */
function order(rows: Spot[][]): void {
  const number = (row: Spot[]) => row.forEach((s, i) => (s.y = i));
  rows.forEach(number);
  for (let i = 0; i < SWEEPS; i++) {
    const forth = i % 2 === 0;
    for (const row of forth ? rows : rows.toReversed()) {
      const key = new Map(row.map((s) => [s, mean(forth ? s.before : s.after, (n) => n.y) ?? s.y]));
      row.sort((a, b) => key.get(a)! - key.get(b)! || a.y - b.y);
      number(row);
    }
  }
}

function mean(list: Spot[], of: (s: Spot) => number): number | null {
  return list.length ? list.reduce((sum, s) => sum + of(s), 0) / list.length : null;
}

function stack(row: Spot[]): void {
  let y = 0;
  for (const s of row) {
    s.y = y;
    y += s.height + ROW;
  }
}

/** Move a layer as near to its neighbours as its order allows: isotonic regression of the wishes. */
function align(row: Spot[], side: "before" | "after"): void {
  const middle = (s: Spot) => s.y + s.height / 2;
  let offset = 0;
  const blocks: { sum: number; count: number }[] = [];
  const offsets: number[] = [];
  for (const s of row) {
    const wish = mean(s[side], middle) ?? mean(side === "before" ? s.after : s.before, middle) ?? middle(s);
    offsets.push(offset);
    blocks.push({ sum: wish - s.height / 2 - offset, count: 1 });
    offset += s.height + ROW;
    for (let b = blocks.at(-1)!, a = blocks.at(-2); a && a.sum / a.count > b.sum / b.count; b = a, a = blocks.at(-2)) {
      a.sum += b.sum;
      a.count += b.count;
      blocks.pop();
    }
  }
  const values = blocks.flatMap(({ sum, count }) => new Array<number>(count).fill(sum / count));
  row.forEach((s, i) => (s.y = values[i]! + offsets[i]!));
}

function columns(rows: Spot[][], edges: OutlineEdge[], chains: (Spot[] | null)[], labelWidth: (label: string) => number): void {
  const gaps = rows.map(() => GAP);
  edges.forEach((edge, k) => {
    const via = chains[k];
    const last = via?.at(-2)?.layer;
    if (last !== undefined && edge.label) gaps[last] = Math.max(gaps[last]!, labelWidth(edge.label) + 26);
  });
  let x = MARGIN;
  rows.forEach((row, i) => {
    const width = Math.max(...row.map((s) => s.width));
    for (const s of row) {
      s.x = x + (width - s.width) / 2;
      if (!s.width) [s.x, s.width] = [x, width];
    }
    x += width + gaps[i]!;
  });
}

const r = (n: number): number => Math.round(n * 10) / 10;

type Drawn = Pick<PlacedEdge, "path" | "at" | "down" | "right">;

function through(via: Spot[]): Drawn {
  const y = (s: Spot) => s.y + s.height / 2;
  let path = `M${r(via[0]!.x + via[0]!.width)} ${r(y(via[0]!))}`;
  let at: [number, number] = [0, 0];
  for (let i = 1; i < via.length; i++) {
    const [a, b] = [via[i - 1]!, via[i]!];
    const [x1, x2] = [a.x + a.width, b.x];
    const middle = (x1 + x2) / 2;
    path += `C${r(middle)} ${r(y(a))} ${r(middle)} ${r(y(b))} ${r(x2)} ${r(y(b))}`;
    if (i < via.length - 1) path += `H${r(b.x + b.width)}`;
    const apart = Math.abs(y(a) - y(b)) > 2;
    at = [r(apart ? x1 + (x2 - x1) * 0.58 : middle), r(y(b))];
  }
  const [a, b] = via.slice(-2) as [Spot, Spot];
  return { path, at, down: y(b) > y(a) + 2, right: 0 };
}

/** The left and right ends of a node's column when another node stands below it: a way down would cross that. */
function sideOf(s: Spot, spots: Spot[]): [left: number, right: number] | null {
  const column = spots.filter((other) => other.layer === s.layer);
  if (!column.some((other) => other.y > s.y)) return null;
  return [Math.min(...column.map((c) => c.x)), Math.max(...column.map((c) => c.x + c.width))];
}

/** The way back, below everything. */
function around(a: Spot, b: Spot, below: number, side: (s: Spot) => [number, number] | null): Drawn {
  const self = a === b;
  const [from, to] = [side(a), side(b)];
  const x1 = from ? from[1] + LANE : a.x + a.width / 2 + (self ? 12 : 0);
  const x2 = to ? to[0] - LANE : b.x + b.width / 2 - (self ? 12 : 0);
  const points: [number, number][] = [[x1, below], [x2, below]];
  if (from) points.unshift([a.x + a.width, a.y + a.height / 2], [x1, a.y + a.height / 2]);
  else points.unshift([x1, a.y + a.height]);
  if (to) points.push([x2, b.y + b.height / 2], [b.x, b.y + b.height / 2]);
  else points.push([x2, b.y + b.height]);
  return { path: rounded(points), at: [r((x1 + x2) / 2), r(below)], down: false, right: x1 };
}

/** A path through corners that are rounded. */
function rounded(points: [number, number][]): string {
  const [first, ...rest] = points as [[number, number], ...[number, number][]];
  const last = rest.pop()!;
  let before = first;
  let path = `M${r(first[0])} ${r(first[1])}`;
  rest.forEach((corner, i) => {
    const next = rest[i + 1] ?? last;
    const cut = ([x, y]: [number, number]): string => {
      const [dx, dy] = [x - corner[0], y - corner[1]];
      const length = Math.hypot(dx, dy) || 1;
      const share = Math.min(CORNER, length / 2) / length;
      return `${r(corner[0] + dx * share)} ${r(corner[1] + dy * share)}`;
    };
    path += `L${cut(before)}Q${r(corner[0])} ${r(corner[1])} ${cut(next)}`;
    before = corner;
  });
  return `${path}L${r(last[0])} ${r(last[1])}`;
}
