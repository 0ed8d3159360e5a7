// Custom data, and answers and nodes that begin again.
import { cleaned } from "./cite";
import type { CustomDataMetadata, ExecutionEvent } from "./events";
import { add, close, nodeOf } from "./reduce";
import type { CustomPart, NodeState, RetryPart, RunState } from "./state";

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
