// Generated from mesh_nb/core/events.py and metadata.py by generate_events.py; do not edit.

export const SCHEMA_VERSION = 1;

export type EventType =
  | "execution_start"
  | "execution_complete"
  | "execution_error"
  | "node_start"
  | "node_complete"
  | "node_error"
  | "node_retry"
  | "model_call_start"
  | "message_start"
  | "token"
  | "message_complete"
  | "reasoning_start"
  | "reasoning_token"
  | "reasoning_end"
  | "tool_call_start"
  | "tool_call_delta"
  | "tool_call_complete"
  | "response_metadata"
  | "source"
  | "file"
  | "step_start"
  | "step_complete"
  | "state_update"
  | "interrupt"
  | "interrupt_resolved"
  | "custom_data";

/** Events that may be joined with their neighbours. */
export const DELTAS: ReadonlySet<string> = new Set(["reasoning_token", "token", "tool_call_delta"]);

export const ENDINGS: ReadonlySet<string> = new Set(["execution_complete", "execution_error"]);

/** One thing that happened in a run, as ExecutionEvent.to_dict() sends it. */
export interface ExecutionEvent<M = Record<string, unknown>> {
  seq: number;
  type: EventType;
  node_id: string;
  content?: unknown;
  output?: unknown;
  error?: string;
  metadata: M;
  timestamp: number;
  run_id: string;
}

/** Token counts of model calls; a counter the provider does not report is absent, never 0. prompt_tokens includes cached and cache-write tokens; completion_tokens includes reasoning tokens; cache_write_tokens includes those that are kept for an hour, cache_write_1h_tokens, which cost more. tool_use_tokens are billed beside prompt_tokens, web_searches one by one. */
export interface Usage {
  prompt_tokens?: number;
  completion_tokens?: number;
  total_tokens?: number;
  cached_tokens?: number;
  cache_write_tokens?: number;
  cache_write_1h_tokens?: number;
  reasoning_tokens?: number;
  tool_use_tokens?: number;
  web_searches?: number;
}

/** One citation or search result; offsets are half-open, in the unit that `offset_unit` names. One of a file at the provider has file_id, and container_id where it lies in one. */
export interface Source {
  url?: string;
  title?: string;
  file_id?: string;
  container_id?: string;
  cited_text?: string;
  start?: number;
  end?: number;
  offset_unit?: "code_point" | "utf8_byte" | "utf16";
  kind?: "cited" | "result";
}

/** The limits that a run begins with, as options of `graph.run`. */
export interface BudgetMetadata {
  budget_usd?: number;
  max_tokens?: number;
  max_model_calls?: number;
  unpriced?: "refuse" | "allow" | "ask";
  on_budget?: "stop" | "ask";
}

/** Metadata of execution_start; resumed: how many parts of the run came before this one. */
export interface ExecutionStartMetadata {
  graph_id?: string;
  session_id?: string;
  input?: unknown;
  graph?: unknown;
  budget?: BudgetMetadata;
  resumed?: number;
}

/** Metadata of execution_complete and execution_error. */
export interface ExecutionEndMetadata {
  status?: "completed" | "interrupted" | "failed" | "cancelled" | "budget" | "timeout";
  duration_ms?: number;
  usage?: Usage;
  cost_usd?: number;
}

/** Metadata of model_call_start; `request` is redacted, and a blob named by `request_ref` in a log. replayed, cached: the answer comes from a tape, or from the cache; nobody was asked. held_usd: what it may cost, while limits of the notebook or the project hold. */
export interface ModelCallStartMetadata {
  call_id?: string;
  call_key?: string;
  attempt?: number;
  provider?: string;
  requested_model?: string;
  request?: unknown;
  request_ref?: string;
  replayed?: boolean;
  cached?: boolean;
  held_usd?: number;
}

/** Metadata of token. */
export interface TokenMetadata {
  text_block_id?: string;
  event_subtype?: "text" | "refusal";
}

/** Metadata of message_start and message_complete. */
export interface MessageMetadata {
  message_id?: string;
  finish_reason?: string | null;
}

/** Metadata of tool_call_start, tool_call_delta and tool_call_complete. needs_approval: the provider would run it, on a server that it reaches, but asks first. replayed: the result comes from a tape. */
export interface ToolCallMetadata {
  tool_name?: string;
  tool_call_id?: string;
  executed_by?: "client" | "provider";
  needs_approval?: boolean;
  arguments?: unknown;
  arguments_raw?: string;
  status?: "ok" | "error" | "denied" | "cancelled" | "not_executed";
  duration_ms?: number;
  replayed?: boolean;
}

/** Metadata of reasoning_start, reasoning_token and reasoning_end. */
export interface ReasoningMetadata {
  block_id?: string;
  kind?: "full" | "summary" | "redacted";
}

/** A limit over many runs that held for a call, and what was spent of it when the call had ended. */
export interface LimitMetadata {
  scope: "notebook" | "project";
  per: "session" | "hour" | "day" | "week" | "month";
  usd: number;
  spent_usd: number;
}

/** Metadata of response_metadata: exactly one for each model call, never without model_id and usage. answer: its text, where that is for its node alone and no token tells it. replayed, cached: it comes from a tape, or from the cache; cost_usd is then 0, and original_cost_usd what it cost when it was asked for. */
export interface ResponseMetadata {
  call_id?: string;
  usage?: Usage;
  usage_status?: "reported" | "estimated" | "unknown";
  model_id?: string;
  requested_model?: string;
  provider?: string;
  finish_reason?: string | null;
  finish_reason_raw?: string | null;
  message_id?: string;
  provider_state?: unknown;
  cost_usd?: number;
  cost_source?: "wire" | "genai-prices" | "custom" | "replay" | "cache";
  original_cost_usd?: number;
  replayed?: boolean;
  cached?: boolean;
  time_to_first_token_ms?: number;
  duration_ms?: number;
  limits?: LimitMetadata[];
  answer?: string;
}

/** Metadata of source. */
export interface SourceMetadata {
  sources: Source[];
}

/** The first rows of a file that is a table, as records, and how many it has. */
export interface FilePreview {
  rows: Record<string, unknown>[];
  total: number;
}

/** Metadata of file; content is base64, or, in a log, a blob named by content_ref. Without content it lies with a provider, under file_id, and in container_id where that is given. Only on the way to a page: content_omitted, content is there and sent when it is asked for; preview of a table. */
export interface FileMetadata {
  name?: string;
  mime_type?: string;
  content?: string;
  content_ref?: string;
  size?: number;
  provider?: string;
  file_id?: string;
  container_id?: string;
  content_omitted?: boolean;
  preview?: FilePreview;
}

/** Metadata of step_start and step_complete. */
export interface StepMetadata {
  step_index?: number;
  usage?: Usage;
  finish_reason?: string | null;
}

/** Metadata of custom_data; transient events are shown and not logged. */
export interface CustomDataMetadata {
  data_type?: string;
  transient?: boolean;
}

/** Where a node's output was taken from; fork: nobody compared; patched: it is the fork's patch. */
export interface ReusedMetadata {
  run_id: string;
  seq: number;
  fork: boolean;
  patched: boolean;
}

/** What the executor adds to the metadata of a node's events; visit and attempt when they are above 0. resumed: in node_start, which part of the run goes on with the node. In node_complete: route, the nodes that it chose; reused, of a node that was not run. */
export interface NodeMetadata {
  visit?: number;
  attempt?: number;
  resumed?: number;
  route?: string[];
  reused?: ReusedMetadata;
}

/** Metadata of node_error; all but error_type are those of a provider's error. */
export interface NodeErrorMetadata {
  error_type?: string;
  provider?: string;
  model?: string;
  status?: number;
  request_id?: string;
  retryable?: boolean;
}

/** Metadata of node_retry: the attempt that comes, after delay_s seconds. */
export interface NodeRetryMetadata {
  attempt: number;
  max_retries: number;
  delay_s: number;
}

/** Metadata of state_update; update: what a reducer was given; removed: names that are gone; isolated: in how many graphs with a state of their own it is. */
export interface StateUpdateMetadata {
  update?: Record<string, unknown>;
  removed?: string[];
  isolated?: number;
}

/** Metadata of interrupt; usage and cost_usd are those of the run so far, deadline in seconds since the epoch. */
export interface InterruptMetadata {
  interrupt_id?: string;
  kind?: "approval" | "before" | "after" | "tool" | "input";
  message?: string;
  tool_name?: string;
  tool_call_id?: string;
  arguments?: unknown;
  data?: unknown;
  usage?: Usage;
  cost_usd?: number;
  timeout_s?: number;
  deadline?: number;
}

/** Metadata of interrupt_resolved; by: "person", "policy", "timeout" or a name. */
export interface InterruptResolvedMetadata {
  interrupt_id?: string;
  kind?: "approval" | "before" | "after" | "tool" | "input";
  decision?: "approved" | "rejected" | "edited" | "denied" | "timeout";
  by?: string;
  reason?: string;
}
