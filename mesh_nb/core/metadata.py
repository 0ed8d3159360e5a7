"""The shapes of events' metadata; the types of the front end are generated from them."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class Usage(TypedDict, total=False):
    """Token counts of model calls; a counter the provider does not report is absent, never 0.

    prompt_tokens includes cached and cache-write tokens; completion_tokens includes reasoning tokens;
    cache_write_tokens includes those that are kept for an hour, cache_write_1h_tokens, which cost more.
    tool_use_tokens are billed beside prompt_tokens, web_searches one by one.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int
    reasoning_tokens: int
    tool_use_tokens: int
    web_searches: int


class Source(TypedDict, total=False):
    """One citation or search result; offsets are half-open, in the unit that `offset_unit` names.

    One of a file at the provider has file_id, and container_id where it lies in one.
    """

    url: str
    title: str
    file_id: str
    container_id: str
    cited_text: str
    start: int
    end: int
    offset_unit: Literal["code_point", "utf8_byte", "utf16"]
    kind: Literal["cited", "result"]


class BudgetMetadata(TypedDict, total=False):
    """The limits that a run begins with, as options of `graph.run`."""

    budget_usd: float
    max_tokens: int
    max_model_calls: int
    unpriced: Literal["refuse", "allow", "ask"]
    on_budget: Literal["stop", "ask"]


class ExecutionStartMetadata(TypedDict, total=False):
    """Metadata of execution_start; resumed: how many parts of the run came before this one."""

    graph_id: str
    session_id: str
    input: Any
    graph: Any
    budget: BudgetMetadata
    resumed: int


class ExecutionEndMetadata(TypedDict, total=False):
    """Metadata of execution_complete and execution_error."""

    status: Literal["completed", "interrupted", "failed", "cancelled", "budget", "timeout"]
    duration_ms: float
    usage: Usage
    cost_usd: float


class ModelCallStartMetadata(TypedDict, total=False):
    """Metadata of model_call_start; `request` is redacted, and a blob named by `request_ref` in a log.

    replayed, cached: the answer comes from a tape, or from the cache; nobody was asked. held_usd: what it may
    cost, while limits of the notebook or the project hold.
    """

    call_id: str
    call_key: str
    attempt: int
    provider: str
    requested_model: str
    request: Any
    request_ref: str
    replayed: bool
    cached: bool
    held_usd: float


class TokenMetadata(TypedDict, total=False):
    """Metadata of token."""

    text_block_id: str
    event_subtype: Literal["text", "refusal"]


class MessageMetadata(TypedDict, total=False):
    """Metadata of message_start and message_complete."""

    message_id: str
    finish_reason: str | None


class ToolCallMetadata(TypedDict, total=False):
    """Metadata of tool_call_start, tool_call_delta and tool_call_complete.

    needs_approval: the provider would run it, on a server that it reaches, but asks first. replayed: the
    result comes from a tape.
    """

    tool_name: str
    tool_call_id: str
    executed_by: Literal["client", "provider"]
    needs_approval: bool
    arguments: Any
    arguments_raw: str
    status: Literal["ok", "error", "denied", "cancelled", "not_executed"]
    duration_ms: float
    replayed: bool


class ReasoningMetadata(TypedDict, total=False):
    """Metadata of reasoning_start, reasoning_token and reasoning_end."""

    block_id: str
    kind: Literal["full", "summary", "redacted"]


class LimitMetadata(TypedDict):
    """A limit over many runs that held for a call, and what was spent of it when the call had ended."""

    scope: Literal["notebook", "project"]
    per: Literal["session", "hour", "day", "week", "month"]
    usd: float
    spent_usd: float


class ResponseMetadata(TypedDict, total=False):
    """Metadata of response_metadata: exactly one for each model call, never without model_id and usage.

    answer: its text, where that is for its node alone and no token tells it. replayed, cached: it comes from
    a tape, or from the cache; cost_usd is then 0, and original_cost_usd what it cost when it was asked for.
    """

    call_id: str
    usage: Usage
    usage_status: Literal["reported", "estimated", "unknown"]
    model_id: str
    requested_model: str
    provider: str
    finish_reason: str | None
    finish_reason_raw: str | None
    message_id: str
    provider_state: Any
    cost_usd: float
    cost_source: Literal["wire", "genai-prices", "custom", "replay", "cache"]
    original_cost_usd: float
    replayed: bool
    cached: bool
    time_to_first_token_ms: float
    duration_ms: float
    limits: list[LimitMetadata]
    answer: str


class SourceMetadata(TypedDict):
    """Metadata of source."""

    sources: list[Source]


class FilePreview(TypedDict):
    """The first rows of a file that is a table, as records, and how many it has."""

    rows: list[dict[str, Any]]
    total: int


class FileMetadata(TypedDict, total=False):
    """Metadata of file; content is base64, or, in a log, a blob named by content_ref.

    Without content it lies with a provider, under file_id, and in container_id where that is given. Only on
    the way to a page: content_omitted, content is there and sent when it is asked for; preview of a table.
    """

    name: str
    mime_type: str
    content: str
    content_ref: str
    size: int
    provider: str
    file_id: str
    container_id: str
    content_omitted: bool
    preview: FilePreview


class StepMetadata(TypedDict, total=False):
    """Metadata of step_start and step_complete."""

    step_index: int
    usage: Usage
    finish_reason: str | None


class CustomDataMetadata(TypedDict, total=False):
    """Metadata of custom_data; transient events are shown and not logged."""

    data_type: str
    transient: bool


class ReusedMetadata(TypedDict):
    """Where a node's output was taken from; fork: nobody compared; patched: it is the fork's patch."""

    run_id: str
    seq: int
    fork: NotRequired[bool]
    patched: NotRequired[bool]


class NodeMetadata(TypedDict, total=False):
    """What the executor adds to the metadata of a node's events; visit and attempt when they are above 0.

    resumed: in node_start, which part of the run goes on with the node. In node_complete: route, the nodes
    that it chose; reused, of a node that was not run.
    """

    visit: int
    attempt: int
    resumed: int
    route: list[str]
    reused: ReusedMetadata


class NodeErrorMetadata(TypedDict, total=False):
    """Metadata of node_error; all but error_type are those of a provider's error."""

    error_type: str
    provider: str
    model: str
    status: int
    request_id: str
    retryable: bool


class NodeRetryMetadata(TypedDict):
    """Metadata of node_retry: the attempt that comes, after delay_s seconds."""

    attempt: int
    max_retries: int
    delay_s: float


class StateUpdateMetadata(TypedDict, total=False):
    """Metadata of state_update; update: what a reducer was given; removed: names that are gone; isolated: in
    how many graphs with a state of their own it is."""

    update: dict[str, Any]
    removed: list[str]
    isolated: int


class InterruptMetadata(TypedDict, total=False):
    """Metadata of interrupt; usage and cost_usd are those of the run so far, deadline in seconds since the
    epoch."""

    interrupt_id: str
    kind: Literal["approval", "before", "after", "tool", "input"]
    message: str
    tool_name: str
    tool_call_id: str
    arguments: Any
    data: Any
    usage: Usage
    cost_usd: float
    timeout_s: float
    deadline: float


class InterruptResolvedMetadata(TypedDict, total=False):
    """Metadata of interrupt_resolved; by: "person", "policy", "timeout" or a name."""

    interrupt_id: str
    kind: Literal["approval", "before", "after", "tool", "input"]
    decision: Literal["approved", "rejected", "edited", "denied", "timeout"]
    by: str
    reason: str
