// Generated from mesh_nb/core/events.py by generate_events.py; do not edit.

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

/** Token counts of model calls; a counter the provider does not report is absent, never 0. prompt_tokens includes cached and cache-write tokens; completion_tokens includes reasoning tokens. */
export interface Usage {
  prompt_tokens?: number;
  completion_tokens?: number;
  total_tokens?: number;
  cached_tokens?: number;
  cache_write_tokens?: number;
  reasoning_tokens?: number;
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

/** Metadata of execution_start. */
export interface ExecutionStartMetadata {
  graph_id?: string;
  session_id?: string;
  input?: unknown;
  graph?: unknown;
}

/** Metadata of execution_complete and execution_error. */
export interface ExecutionEndMetadata {
  status?: "completed" | "interrupted" | "failed" | "cancelled" | "budget" | "timeout";
  duration_ms?: number;
  usage?: Usage;
  cost_usd?: number;
}

/** Metadata of model_call_start; `request` is redacted, and a blob named by `request_ref` in a log. */
export interface ModelCallStartMetadata {
  call_id?: string;
  call_key?: string;
  attempt?: number;
  provider?: string;
  requested_model?: string;
  request?: unknown;
  request_ref?: string;
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

/** Metadata of tool_call_start, tool_call_delta and tool_call_complete. needs_approval: the provider would run it, on a server that it reaches, but asks first. */
export interface ToolCallMetadata {
  tool_name?: string;
  tool_call_id?: string;
  executed_by?: "client" | "provider";
  needs_approval?: boolean;
  arguments?: unknown;
  arguments_raw?: string;
  status?: "ok" | "error" | "denied" | "cancelled" | "not_executed";
  duration_ms?: number;
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

/** Metadata of response_metadata: exactly one for each model call, never without model_id and usage. */
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
  cost_source?: "wire" | "genai-prices" | "custom";
  time_to_first_token_ms?: number;
  duration_ms?: number;
  limits?: LimitMetadata[];
}

/** Metadata of source. */
export interface SourceMetadata {
  sources: Source[];
}

/** Metadata of file; content is base64, or, in a log, a blob named by content_ref. Without content it lies with a provider, under file_id, and in container_id where that is given. */
export interface FileMetadata {
  name?: string;
  mime_type?: string;
  content?: string;
  content_ref?: string;
  size?: number;
  provider?: string;
  file_id?: string;
  container_id?: string;
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

/** What the executor adds to the metadata of a node's events when it is above 0. */
export interface NodeMetadata {
  visit: number;
  attempt: number;
}
