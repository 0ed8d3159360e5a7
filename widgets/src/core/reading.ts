// What a reader of a run with several nodes sees first: the answer; the nodes on the way to it are folded.
// Static output follows the same rules (mesh_nb/notebook/_reading.py). Pure.
import { hosts } from "./flow";
import { count } from "./format";
import type { NodeState, Part, RunState, TextPart } from "./state";

/** Folded nodes in a row from which on they are one line together. */
export const MANY = 4;
const BRIEF = 72;

const worded = (p: Part): p is TextPart => p.type === "text" && /\S/.test(p.text);

/** The nodes that are open: those that nothing followed, or that have not ended, and the answer. */
export function opened(run: RunState): Set<NodeState> {
  const names = new Set(run.nodes.map((node) => node.id));
  // A node inside another is open while it runs, or when it has the answer.
  const inside = ({ id }: NodeState) => hosts(id).some((host) => names.has(host));
  const open = new Set(run.nodes.filter((n) => n.leftAt === null || (n.leftAt > run.flow.last && !inside(n))));
  const answer = run.nodes.findLast((node) => node.parts.some(worded));
  if (answer) open.add(answer);
  return open;
}

const shorten = (text: string) => (text.length > BRIEF ? `${text.slice(0, BRIEF - 1)}…` : text);

/** What a folded node is about: how its text begins, else how many calls it made. */
export function brief(node: NodeState): string {
  const text = node.parts.find(worded)?.text;
  if (text) return shorten(text.slice(0, 4 * BRIEF).replace(/^\s*(?:#{1,6}|[-*+>]|\d+[.)])\s+|\*+|__|`+/gm, "").split(/\s+/).filter(Boolean).join(" "));
  const calls = node.parts.filter((p) => p.type === "tool").length;
  return calls ? count(calls, "tool call") : "";
}

/** The line above folded nodes in a row: how many, and which. */
export function namesOf(nodes: NodeState[]): [title: string, names: string] {
  const names = [...new Set(nodes.map((node) => node.id))];
  return [count(nodes.length, "node"), names.slice(0, 6).join(", ") + (names.length > 6 ? ", …" : "")];
}
