// Questions to people: an interrupt, and the answer that resolves it.
import { cleaned } from "./cite";
import type { ExecutionEvent } from "./events";
import { add, nodeOf } from "./reduce";
import type { InterruptKind, InterruptPart, RunState } from "./state";

export interface Asked {
  interrupt_id?: string;
  kind?: InterruptKind;
  message?: string;
  tool_name?: string;
  arguments?: unknown;
  data?: unknown;
  cost_usd?: number;
  deadline?: number;
}
export interface Answered {
  interrupt_id?: string;
  decision?: string;
  by?: string;
  reason?: string;
}

const number = (value: unknown): number | null => (typeof value === "number" ? value : null);

export function asked(run: RunState, event: ExecutionEvent<Asked>): void {
  const node = nodeOf(run, event);
  const m = event.metadata;
  const id = cleaned(m.interrupt_id);
  if (node.open.has(`interrupt ${id}`)) return;
  const part = add<InterruptPart>(node, {
    type: "interrupt",
    id,
    kind: m.kind ?? "approval",
    message: cleaned(m.message),
    tool: cleaned(m.tool_name),
    about: m.arguments ?? m.data ?? event.output ?? undefined,
    cost: number(m.cost_usd),
    deadline: number(m.deadline),
    resolved: null,
  });
  node.open.set(`interrupt ${id}`, part);
}

export function answered(run: RunState, event: ExecutionEvent<Answered>): void {
  const node = nodeOf(run, event);
  const m = event.metadata;
  const part = node.open.get(`interrupt ${cleaned(m.interrupt_id)}`);
  if (part?.type !== "interrupt") return;
  node.open.delete(`interrupt ${part.id}`);
  part.resolved = {
    decision: cleaned(m.decision) || "approved",
    by: cleaned(m.by),
    reason: cleaned(m.reason),
    output: event.output,
  };
  part.rev++;
}

/** The questions of a run that nobody has answered, oldest first. */
export const questions = (run: RunState): InterruptPart[] =>
  run.nodes.flatMap((node) => node.parts.filter((p): p is InterruptPart => p.type === "interrupt" && p.resolved === null));
