// Custom data, and answers and nodes that begin again.
import { cleaned } from "./cite";
import type { CustomDataMetadata, ExecutionEvent } from "./events";
import { enter } from "./flow";
import { add, close, nodeOf } from "./reduce";
import type { CustomPart, NodeState, Part, RetryPart, RunState, RunStatus } from "./state";

export function custom(run: RunState, event: ExecutionEvent<CustomDataMetadata>): void {
  const node = nodeOf(run, event);
  const dataType = event.metadata.data_type ?? "data";
  if (dataType === "data-restart") return restart(node, event);
  const named = (event.content as { id?: unknown } | null)?.id ?? "";
  const id = `custom ${dataType} ${String(named)}`;
  // Progress, and whatever is transient or carries an id, is one thing that changes.
  const replaces = dataType === "data-progress" || event.metadata.transient || named !== "";
  const before = replaces ? (node.open.get(id) as CustomPart | undefined) : undefined;
  if (dataType === "data-retry") {
    const delay = (event.content as { delay_s?: unknown } | null)?.delay_s;
    if (typeof delay === "number") node.waits.push([event.timestamp, event.timestamp + delay]);
  }
  if (before) {
    before.payload = event.content;
    before.rev++;
  } else {
    const part = add<CustomPart>(node, { type: "custom", dataType, payload: event.content, at: event.timestamp });
    if (replaces) node.open.set(id, part);
  }
}

/** The answer of a model call begins again: what the call had said is void. */
function restart(node: NodeState, event: ExecutionEvent<CustomDataMetadata>): void {
  const dropped = node.parts.splice(node.call);
  for (const [id, part] of node.open) if (dropped.includes(part)) node.open.delete(id);
  for (const part of dropped) {
    if (part.type === "text") part.done = true;
    if (part.type === "reasoning") part.endedAt ??= event.timestamp;
  }
  node.retriedAt.push(event.timestamp);
  add<RetryPart>(node, { type: "retry", answer: true, error: "", dropped });
  node.call = node.parts.length;
}

export function retry(run: RunState, event: ExecutionEvent<{ attempt?: number }>): void {
  const node = nodeOf(run, event);
  const dropped = node.parts;
  close(node, "stopped", event.timestamp);
  node.attempt = Math.max(node.attempt, event.metadata.attempt ?? 0) + (event.metadata.attempt ? 0 : 1);
  node.status = "running";
  node.endedAt = null;
  node.error = null;
  node.parts = [];
  node.call = 0;
  node.retriedAt.push(event.timestamp);
  node.open.clear();
  add<RetryPart>(node, { type: "retry", answer: false, error: cleaned(event.error ?? event.content), dropped });
}

const TOLD = new Set(["ok", "error", "denied"]);
const AFTER: Partial<Record<RunStatus, string>> = {
  cancelled: "after it was stopped",
  budget: "after the budget was reached",
  timeout: "after its time was over",
  running: "after its process had ended",
};

/** A node that was cut off is run again. Calls that came to their end are not made again, and stay; so do questions. */
export function goOn(run: RunState, node: NodeState, event: ExecutionEvent<unknown>): void {
  const calls = node.answered || node.call > 0;
  const at = node.answered ? node.parts.length : node.call;
  const lost = (part: Part, n: number) =>
    part.type !== "interrupt" && (part.type === "retry" || n >= at || !calls || (part.type === "tool" && !TOLD.has(part.status)));
  close(node, "stopped", event.timestamp);
  const dropped = node.parts.filter(lost);
  const kept = node.parts.filter((part, n) => !lost(part, n));
  const error = node.error ?? AFTER[run.was ?? "running"] ?? "";
  const made: RetryPart = { type: "retry", key: `retry${node.attempt}.${node.made++}`, rev: 0, answer: false, error, dropped };
  const before = dropped.some((part) => part.type !== "step") || node.error !== null ? [made] : [];
  Object.assign(node, { broken: false, status: "running", error: null, endedAt: null, parts: [...before, ...kept] });
  node.call = node.parts.length;
  node.retriedAt.push(event.timestamp);
  for (const [id, part] of node.open) if (!kept.includes(part)) node.open.delete(id);
  enter(run.flow, node.id);
}
