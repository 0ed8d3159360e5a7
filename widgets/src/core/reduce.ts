// Events to what a reader of the run sees. No DOM, no time, no I/O: the same events give the same state.
import type {
  ExecutionEndMetadata,
  ExecutionEvent,
  ExecutionStartMetadata,
  FileMetadata,
  ModelCallStartMetadata,
  ReasoningMetadata,
  ResponseMetadata,
  Source,
  SourceMetadata,
  StepMetadata,
  TokenMetadata,
  ToolCallMetadata,
  Usage,
} from "./events";
import { answered, asked } from "./ask";
import { cleaned, place, type Mark } from "./cite";
import { custom, goOn, retry } from "./custom";
import { own } from "./format";
import { enter, leave, outlined } from "./flow";
import type {
  Again,
  FilePart,
  NodeState,
  NodeStatus,
  Part,
  ReasoningPart,
  RunState,
  StepPart,
  TextPart,
  ToolPart,
} from "./state";

/** Marks of what was not done anew. */
interface Marks {
  reused?: unknown;
  replayed?: unknown;
  cached?: unknown;
}
const againOf = (m: unknown): Again => (["reused", "replayed", "cached"] as const).find((word) => (m as Marks)[word]) ?? "";

type Handler = (run: RunState, event: ExecutionEvent<never>) => void;
const typed = <M>(handler: (run: RunState, event: ExecutionEvent<M>) => void): Handler => handler as Handler;

export function nodeOf(run: RunState, event: ExecutionEvent<unknown>): NodeState {
  const { visit = 0, attempt = 0 } = event.metadata as { visit?: number; attempt?: number };
  const key = `${event.node_id} ${visit}`;
  let node = run.byKey.get(key);
  if (!node) {
    node = {
      key,
      rev: 0,
      id: event.node_id,
      visit,
      attempt,
      status: "running",
      again: "",
      parts: [],
      error: null,
      startedAt: event.timestamp,
      endedAt: null,
      open: new Map(),
      waiting: [],
      call: 0,
      answered: false,
      leftAt: null,
      broken: false,
      made: 0,
      firstAt: null,
      retriedAt: [],
      waits: [],
    };
    run.byKey.set(key, node);
    run.nodes.push(node);
    enter(run.flow, node.id);
  }
  node.attempt = Math.max(node.attempt, attempt);
  node.rev++;
  return node;
}

export function add<P extends Part>(node: NodeState, part: Omit<P, "key" | "rev">): P {
  const made = { key: `${part.type}${node.attempt}.${node.made++}`, rev: 0, ...part } as P;
  node.parts.push(made);
  return made;
}

function text(run: RunState, event: ExecutionEvent<TokenMetadata>): void {
  const node = nodeOf(run, event);
  const refusal = event.metadata.event_subtype === "refusal";
  node.firstAt ??= event.timestamp;
  const id = `text ${event.metadata.text_block_id ?? ""} ${refusal}`;
  let part = node.open.get(id) as TextPart | undefined;
  // Without block ids, text that follows something else is a block of its own.
  if (part && event.metadata.text_block_id === undefined && node.parts.at(-1) !== part) {
    part.done = true;
    part.rev++;
    part = undefined;
  }
  if (!part) {
    part = add<TextPart>(node, { type: "text", text: "", refusal, done: false, marks: node.waiting });
    node.waiting = [];
    node.open.set(id, part);
  }
  part.text += cleaned(event.content);
  part.rev++;
}

function messageEnd(run: RunState, event: ExecutionEvent<unknown>): void {
  // A later message may reuse a block id; it is a block of its own.
  const node = nodeOf(run, event);
  for (const [id, part] of node.open) {
    if (part.type !== "text") continue;
    part.done = true;
    part.rev++;
    node.open.delete(id);
  }
}

function reasoning(run: RunState, event: ExecutionEvent<ReasoningMetadata>): void {
  const node = nodeOf(run, event);
  const id = `reasoning ${event.metadata.block_id ?? ""}`;
  let part = node.open.get(id) as ReasoningPart | undefined;
  node.firstAt ??= event.timestamp;
  if (!part) {
    part = add<ReasoningPart>(node, {
      type: "reasoning",
      text: "",
      kind: "full",
      startedAt: event.timestamp,
      endedAt: null,
    });
    node.open.set(id, part);
  }
  part.kind = event.metadata.kind ?? part.kind;
  if (event.type === "reasoning_token") part.text += cleaned(event.content);
  if (event.type === "reasoning_end") {
    part.endedAt = event.timestamp;
    node.open.delete(id);
  }
  part.rev++;
}

function tool(run: RunState, event: ExecutionEvent<ToolCallMetadata>): void {
  const node = nodeOf(run, event);
  const m = event.metadata;
  const id = `tool ${m.tool_call_id ?? event.seq}`;
  let part = node.open.get(id) as ToolPart | undefined;
  const over = part !== undefined && part.status !== "writing" && part.status !== "running";
  // Some servers number the calls of every round anew.
  if (!part || (over && event.type === "tool_call_start")) {
    part = add<ToolPart>(node, {
      type: "tool",
      name: "",
      raw: "",
      args: undefined,
      output: undefined,
      error: null,
      status: "writing",
      provider: m.executed_by === "provider",
      again: "",
      startedAt: event.timestamp,
      durationMs: null,
    });
    node.open.set(id, part);
  }
  part.rev++;
  part.name = m.tool_name ?? part.name;
  part.again = againOf(m) || part.again;
  if (m.executed_by) part.provider = m.executed_by === "provider";
  if (m.arguments !== undefined && m.arguments !== null) {
    part.args = m.arguments;
    if (part.status === "writing") part.status = "running";
  }
  if (event.type === "tool_call_delta") {
    part.raw += typeof event.content === "string" ? event.content : "";
    const args = part.status === "writing" ? wholeObject(part.raw) : undefined;
    if (args !== undefined) Object.assign(part, { args, status: "running" });
  }
  if (event.type !== "tool_call_complete") return;
  part.raw = m.arguments_raw ?? part.raw;
  part.output = event.output;
  part.error = event.error ?? null;
  part.status = m.status ?? (event.error ? "error" : "ok");
  part.durationMs = m.duration_ms ?? Math.max(0, (event.timestamp - part.startedAt) * 1000);
}

/** The arguments once their JSON is complete: nothing can follow a whole object. */
function wholeObject(raw: string): unknown {
  if (raw.length > 20_000 || !raw.endsWith("}")) return undefined;
  try {
    return JSON.parse(raw);
  } catch {
    return undefined;
  }
}

function source(run: RunState, event: ExecutionEvent<SourceMetadata>): void {
  const node = nodeOf(run, event);
  const part = node.parts.findLast((p): p is TextPart => p.type === "text");
  const list = Array.isArray(event.metadata.sources) ? event.metadata.sources : [];
  for (const one of list) cite(run, part?.text, part?.marks ?? node.waiting, one);
  if (part) part.rev++;
}

function cite(run: RunState, text: string | undefined, marks: Mark[], one: Source): void {
  const url = typeof one.url === "string" ? one.url : "";
  const title = cleaned(one.title);
  const name = url || title;
  if (!name) return;
  let found = run.sources.get(name);
  if (!found) {
    found = { number: 0, url, title: title || url, quote: "" };
    run.sources.set(name, found);
  }
  found.quote ||= cleaned(one.cited_text);
  if (one.kind === "result") return;
  found.number ||= ++run.cited;
  // Some servers send start = end = 0 for "no place known": the mark then stands at the end of the text.
  const known = typeof one.end === "number" && one.end > (one.start ?? 0);
  const at = known && text !== undefined ? place(text, one.end!, one.offset_unit) : null;
  if (!marks.some((m) => m.at === at && m.number === found.number)) marks.push({ at, number: found.number });
}

function file(run: RunState, event: ExecutionEvent<FileMetadata>): void {
  const m = event.metadata;
  const content = typeof m.content === "string" ? m.content : null;
  add<FilePart>(nodeOf(run, event), {
    type: "file",
    name: cleaned(m.name) || "file",
    mime: m.mime_type ?? "application/octet-stream",
    seq: event.seq,
    content,
    omitted: m.content_omitted === true,
    size: m.size ?? (content === null ? null : Math.floor((content.length * 3) / 4) - padding(content)),
    holder: m.file_id ? cleaned(m.provider) || "the provider" : "",
    preview: m.preview && Array.isArray(m.preview.rows) ? m.preview : null,
  });
}

const padding = (base64: string): number => (base64.endsWith("==") ? 2 : base64.endsWith("=") ? 1 : 0);

function callStart(run: RunState, event: ExecutionEvent<ModelCallStartMetadata>): void {
  const node = nodeOf(run, event);
  node.call = node.parts.length;
  node.answered = false;
  const m = event.metadata;
  run.calls.push({
    id: m.call_id ?? `seq${event.seq}`,
    nodeId: event.node_id,
    visit: node.visit,
    model: m.requested_model ?? "",
    provider: m.provider ?? "",
    usage: {},
    usageStatus: "unknown",
    cost: null,
    again: "",
    original: null,
    finish: null,
    firstTokenMs: null,
    durationMs: null,
    done: false,
  });
}

function response(run: RunState, event: ExecutionEvent<ResponseMetadata>): void {
  const node = nodeOf(run, event);
  const m = event.metadata;
  let call = run.calls.findLast((c) => !c.done && (m.call_id ? c.id === m.call_id : c.nodeId === node.id));
  if (!call) {
    callStart(run, event as ExecutionEvent<ModelCallStartMetadata>);
    call = run.calls.at(-1)!;
  }
  call.done = true;
  node.answered = m.finish_reason !== "error";
  call.model = m.model_id ?? m.requested_model ?? call.model;
  call.provider = m.provider ?? call.provider;
  call.usage = m.usage ?? {};
  call.usageStatus = m.usage_status ?? "reported";
  call.finish = m.finish_reason ?? null;
  call.firstTokenMs = m.time_to_first_token_ms ?? null;
  call.durationMs = m.duration_ms ?? null;
  if (Array.isArray(m.limits)) run.limits = m.limits.filter((l) => typeof l?.usd === "number" && typeof l.spent_usd === "number");
  call.again = againOf(m);
  if (call.again) {
    call.original = m.original_cost_usd ?? m.cost_usd ?? null;
    run.saved += Math.max(0, call.original ?? 0);
  }
  const cost = call.again ? 0 : m.cost_usd;
  if (typeof cost === "number") {
    call.cost = cost;
    run.cost = (run.cost ?? 0) + cost;
  } else run.unpriced++;
  for (const [name, count] of Object.entries(call.usage) as [keyof Usage, unknown][])
    if (typeof count === "number") run.usage[name] = (run.usage[name] ?? 0) + count;
  // The call is over: what it asked our tools to do is being done now.
  for (const part of node.parts) {
    if (part.type !== "tool" || part.status !== "writing") continue;
    part.status = "running";
    part.startedAt = event.timestamp;
    part.rev++;
  }
}

/** End whatever a node still had open. */
export function close(node: NodeState, status: NodeStatus, timestamp: number): void {
  node.status = status;
  node.endedAt = timestamp;
  node.rev++;
  for (const part of node.parts) {
    if (part.type === "text" && !part.done) part.done = true;
    else if (part.type === "reasoning" && part.endedAt === null) part.endedAt = timestamp;
    else if (part.type === "tool" && (part.status === "writing" || part.status === "running"))
      part.status = status === "completed" ? "not_executed" : "cancelled";
    else continue;
    part.rev++;
  }
  for (const [id, part] of node.open) if (part.type !== "custom") node.open.delete(id);
}

function end(run: RunState, event: ExecutionEvent<ExecutionEndMetadata>): void {
  const m = event.metadata;
  run.status = m.status ?? (event.type === "execution_error" ? "failed" : "completed");
  run.error = event.error ? cleaned(event.error) : null;
  run.output = event.output;
  run.durationMs =
    m.duration_ms ?? (run.startedAt === null ? null : Math.max(0, (event.timestamp - run.startedAt) * 1000));
  if (run.cost === null && !run.calls.length && typeof m.cost_usd === "number") run.cost = m.cost_usd;
  if (!Object.keys(run.usage).length && m.usage) run.usage = { ...m.usage };
  if (run.status === "interrupted") return;
  for (const node of run.nodes) {
    if (node.status === "running") close(node, "stopped", event.timestamp);
    else if (node.error !== null) node.rev++;
  }
}

const HANDLERS: Record<string, Handler> = {
  execution_start: typed<ExecutionStartMetadata & { resumed?: number }>((run, event) => {
    if (event.metadata.resumed) {
      run.was = run.status;
      if (run.status !== "interrupted") for (const node of run.nodes) node.broken = node.leftAt === null;
      run.error = run.durationMs = null;
    }
    run.status = "running";
    run.startedAt = event.timestamp;
    run.graphId = cleaned(event.metadata.graph_id);
    outlined(run.flow, event.metadata.graph);
    run.id ||= event.run_id;
  }),
  execution_complete: typed(end),
  execution_error: typed(end),
  node_start: typed((run, event) => {
    const node = nodeOf(run, event);
    node.again = againOf(event.metadata) || node.again;
    if (node.broken) goOn(run, node, event);
  }),
  node_complete: typed((run, event) => {
    const node = nodeOf(run, event);
    node.again = againOf(event.metadata) || node.again;
    node.broken = false;
    close(node, "completed", event.timestamp);
    node.leftAt = leave(run.flow, event.node_id);
  }),
  node_error: typed((run, event) => {
    const node = nodeOf(run, event);
    node.error = cleaned(event.error) || "failed";
    close(node, "failed", event.timestamp);
  }),
  node_retry: typed(retry),
  model_call_start: typed(callStart),
  message_start: typed((run, event) => void nodeOf(run, event)),
  token: typed(text),
  message_complete: typed(messageEnd),
  reasoning_start: typed(reasoning),
  reasoning_token: typed(reasoning),
  reasoning_end: typed(reasoning),
  tool_call_start: typed(tool),
  tool_call_delta: typed(tool),
  tool_call_complete: typed(tool),
  response_metadata: typed(response),
  source: typed(source),
  file: typed(file),
  step_start: typed<StepMetadata>((run, event) => {
    add<StepPart>(nodeOf(run, event), { type: "step", index: event.metadata.step_index ?? 0 });
  }),
  custom_data: typed(custom),
  interrupt: typed(asked),
  interrupt_resolved: typed(answered),
};

/** Apply one event. Types this version does not know change nothing but the clock. */
export function reduce(run: RunState, event: ExecutionEvent): void {
  run.rev++;
  run.lastTimestamp = Math.max(run.lastTimestamp, event.timestamp);
  if (run.status === "pending") run.status = "running";
  own(HANDLERS, event.type)?.(run, event as ExecutionEvent<never>);
}
