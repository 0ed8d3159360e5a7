// What a reader of a run sees. Objects change in place and count up `rev`, so that a view redraws only what changed.
import type { Mark } from "./cite";
import { newFlow, type Flow } from "./flow";
import type { FilePreview, LimitMetadata, Usage } from "./events";

interface Base {
  key: string;
  rev: number;
}
export interface TextPart extends Base {
  type: "text";
  text: string;
  refusal: boolean;
  done: boolean;
  marks: Mark[];
}
export interface ReasoningPart extends Base {
  type: "reasoning";
  text: string;
  kind: "full" | "summary" | "redacted";
  startedAt: number;
  endedAt: number | null;
}
/** Why something was not done anew: taken from another run, a tape or a cache. */
export type Again = "" | "reused" | "replayed" | "cached";
/** The beginning of a table in a file. */
export type ToolStatus = "writing" | "running" | "ok" | "error" | "denied" | "cancelled" | "not_executed";
export interface ToolPart extends Base {
  type: "tool";
  name: string;
  raw: string;
  args: unknown;
  output: unknown;
  error: string | null;
  status: ToolStatus;
  provider: boolean;
  again: Again;
  startedAt: number;
  durationMs: number | null;
}
export interface FilePart extends Base {
  type: "file";
  name: string;
  mime: string;
  seq: number;
  content: string | null;
  /** The kernel has the content and sends it when asked. */
  omitted: boolean;
  size: number | null;
  /** The provider that keeps it, where it is not here. */
  holder: string;
  preview: FilePreview | null;
}
export interface CustomPart extends Base {
  type: "custom";
  dataType: string;
  payload: unknown;
  /** When it came, in the kernel's seconds. */
  at: number;
}
export interface StepPart extends Base {
  type: "step";
  index: number;
}
export interface RetryPart extends Base {
  type: "retry";
  error: string;
  /** Whether only the answer of one model call begins again. */
  answer: boolean;
  dropped: Part[];
}
export type InterruptKind = "approval" | "before" | "after" | "tool" | "input";
export interface Resolution {
  decision: string;
  by: string;
  reason: string;
  output: unknown;
}
/** A question to a person. */
export interface InterruptPart extends Base {
  type: "interrupt";
  id: string;
  kind: InterruptKind;
  message: string;
  tool: string;
  /** What is asked about: a tool's arguments, else the data; undefined when there is nothing. */
  about: unknown;
  cost: number | null;
  deadline: number | null;
  resolved: Resolution | null;
}
export type Part =
  | TextPart
  | ReasoningPart
  | ToolPart
  | FilePart
  | CustomPart
  | StepPart
  | RetryPart
  | InterruptPart;

export type NodeStatus = "running" | "completed" | "failed" | "stopped";
export interface NodeState extends Base {
  id: string;
  visit: number;
  attempt: number;
  status: NodeStatus;
  again: Again;
  parts: Part[];
  error: string | null;
  startedAt: number;
  endedAt: number | null;
  /** Open text and reasoning blocks, tool calls and replaceable custom data, by their id. */
  open: Map<string, Part>;
  /** Citations that came before any text. */
  waiting: Mark[];
  /** Where the parts of its last model call begin, and whether that call came to its end. */
  call: number;
  answered: boolean;
  /** The step at which it completed; null before that. */
  leftAt: number | null;
  /** Whether the end of an earlier part of the run cut it off. */
  broken: boolean;
  /** How many parts it has made; names them. */
  made: number;
  /** First sign of an answer, runs of it that were replaced, and waits before a request: for the timeline. */
  firstAt: number | null;
  retriedAt: number[];
  waits: [from: number, to: number][];
}

export interface CallState {
  id: string;
  nodeId: string;
  visit: number;
  model: string;
  provider: string;
  usage: Usage;
  usageStatus: string;
  cost: number | null;
  again: Again;
  /** What it had cost, or would have, where it was not made anew. */
  original: number | null;
  finish: string | null;
  firstTokenMs: number | null;
  durationMs: number | null;
  done: boolean;
}

export interface Citation {
  /** Place among the run's cited sources by first use, from 1; 0 for a result nobody cited. */
  number: number;
  url: string;
  title: string;
  quote: string;
}

export type RunStatus =
  | "pending"
  | "running"
  | "completed"
  | "interrupted"
  | "failed"
  | "cancelled"
  | "budget"
  | "timeout";

export interface RunState extends Base {
  id: string;
  graphId: string;
  status: RunStatus;
  /** How an earlier part of the run ended. */
  was: RunStatus | null;
  startedAt: number | null;
  durationMs: number | null;
  error: string | null;
  output: unknown;
  nodes: NodeState[];
  byKey: Map<string, NodeState>;
  calls: CallState[];
  usage: Usage;
  /** Sum of the known costs; null when no call had one. */
  cost: number | null;
  unpriced: number;
  /** What the notebook and the project may spend, as the last call told it. */
  limits: LimitMetadata[];
  /** What calls that were not made anew would have cost. */
  saved: number;
  sources: Map<string, Citation>;
  cited: number;
  /** Part of the stream is missing until a snapshot comes. */
  incomplete: boolean;
  lastTimestamp: number;
  flow: Flow;
}

export function newRun(id: string): RunState {
  return {
    key: id,
    rev: 0,
    id,
    graphId: "",
    status: "pending",
    was: null,
    startedAt: null,
    durationMs: null,
    error: null,
    output: undefined,
    nodes: [],
    byKey: new Map(),
    calls: [],
    usage: {},
    cost: null,
    limits: [],
    unpriced: 0,
    saved: 0,
    sources: new Map(),
    cited: 0,
    incomplete: false,
    lastTimestamp: 0,
    flow: newFlow(),
  };
}

/** The answer: the text of the last node that has any. */
export function answer(run: RunState): string {
  const worded = (p: Part): p is TextPart => p.type === "text" && /\S/.test(p.text);
  const parts = run.nodes.findLast((n) => n.parts.some(worded))?.parts ?? [];
  return parts
    .filter(worded)
    .map((p) => p.text)
    .join("\n\n");
}

/** The cited sources in the order of their numbers, then the results nobody cited. */
export function sourceList(run: RunState): { cited: Citation[]; read: Citation[] } {
  const all = [...run.sources.values()];
  return {
    cited: all.filter((s) => s.number).sort((a, b) => a.number - b.number),
    read: all.filter((s) => !s.number),
  };
}
