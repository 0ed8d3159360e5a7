import { describe, expect, it } from "vitest";
import type { EventType, ExecutionEvent } from "../src/core/events";
import { cost, tokens } from "../src/core/format";
import { reduce } from "../src/core/reduce";
import { answer, sourceList, newRun, type RunState, type TextPart, type ToolPart } from "../src/core/state";
import { events } from "./mock";

function run(list: ExecutionEvent[]): RunState {
  const state = newRun("r1");
  for (const event of list) reduce(state, event);
  return state;
}

const play = (...list: Parameters<typeof events>[0]) => run(events(list));
const kinds = (state: RunState, node = 0) => state.nodes[node]!.parts.map((p) => p.type);

describe("reduce", () => {
  it("keeps the parts of a model call in the order of the wire", () => {
    const tool = { tool_call_id: "c1", tool_name: "add" };
    const state = play(
      ["execution_start", "START", { metadata: { graph_id: "g" } }],
      ["node_start", "llm"],
      ["model_call_start", "llm", { metadata: { call_id: "k", provider: "openai", requested_model: "m" } }],
      ["reasoning_start", "llm", { metadata: { block_id: "b", kind: "summary" } }],
      ["reasoning_token", "llm", { content: "hm", metadata: { block_id: "b" } }],
      ["reasoning_end", "llm", { metadata: { block_id: "b" } }],
      ["message_start", "llm"],
      ["token", "llm", { content: "Hel" }],
      ["token", "llm", { content: "lo" }],
      ["tool_call_start", "llm", { metadata: tool }],
      ["tool_call_delta", "llm", { content: '{"a":', metadata: tool }],
      ["tool_call_delta", "llm", { content: "1}", metadata: tool }],
      ["file", "llm", { metadata: { name: "a.png", mime_type: "image/png", content: "AAAA" } }],
      ["message_complete", "llm"],
      ["response_metadata", "llm", { metadata: { call_id: "k", model_id: "m-1", usage: { total_tokens: 7 }, cost_usd: 0 } }],
      ["tool_call_complete", "llm", { output: 2, metadata: { ...tool, arguments: { a: 1 }, status: "ok", duration_ms: 5 } }],
      ["node_complete", "llm"],
      ["execution_complete", "START", { metadata: { status: "completed", duration_ms: 99 } }],
    );
    expect(kinds(state)).toEqual(["reasoning", "text", "tool", "file"]);
    const [thought, text, call, file] = state.nodes[0]!.parts;
    expect(thought).toMatchObject({ text: "hm", kind: "summary", startedAt: 1003, endedAt: 1005 });
    expect(text).toMatchObject({ text: "Hello", done: true });
    expect(call).toMatchObject({ name: "add", raw: '{"a":1}', args: { a: 1 }, output: 2, status: "ok", durationMs: 5 });
    expect(file).toMatchObject({ name: "a.png", size: 3 });
    expect(state).toMatchObject({ graphId: "g", status: "completed", durationMs: 99, cost: 0, unpriced: 0 });
    expect(state.calls).toHaveLength(1);
    expect(state.calls[0]).toMatchObject({ id: "k", model: "m-1", done: true });
    expect(answer(state)).toBe("Hello");
  });

  it("keeps calls apart whose ids a server uses anew in every round", () => {
    const round = (output: number): Parameters<typeof events>[0] => [
      ["tool_call_start", "llm", { metadata: { tool_call_id: "0", tool_name: "add" } }],
      ["tool_call_complete", "llm", { output, metadata: { tool_call_id: "0", tool_name: "add", status: "ok" } }],
    ];
    const state = play(["node_start", "llm"], ...round(1), ...round(2), ["node_complete", "llm"]);
    expect(state.nodes[0]!.parts.map((p) => (p as ToolPart).output)).toEqual([1, 2]);
  });

  it("says running for a tool once its call is over, and stopped when the run is", () => {
    const list = events([
      ["node_start", "llm"],
      ["tool_call_start", "llm", { metadata: { tool_call_id: "c", tool_name: "t" } }],
      ["response_metadata", "llm", { metadata: { model_id: "m", usage: {} } }],
      ["execution_error", "START", { metadata: { status: "cancelled" }, error: "stopped" }],
    ]);
    const state = newRun("r");
    const seen = list.map((event) => {
      reduce(state, event);
      return (state.nodes[0]?.parts[0] as ToolPart | undefined)?.status;
    });
    expect(seen).toEqual([undefined, "writing", "running", "cancelled"]);
    expect(state.status).toBe("cancelled");
    expect(state.nodes[0]!.status).toBe("stopped");
  });

  it("says running as soon as the arguments are whole", () => {
    const delta = (content: string): [EventType, string, object] => ["tool_call_delta", "n", { content, metadata: { tool_call_id: "c" } }];
    const status = (...parts: string[]) => play(...parts.map(delta)).nodes[0]!.parts[0];
    expect(status('{"a": "}')).toMatchObject({ status: "writing", args: undefined });
    expect(status('{"a": "}', '"}')).toMatchObject({ status: "running", args: { a: "}" } });
  });

  it("keeps nodes that stream at once apart", () => {
    const state = play(
      ["token", "a", { content: "a1" }],
      ["token", "b", { content: "b1" }],
      ["token", "a", { content: "a2" }],
      ["reasoning_token", "b", { content: "r", metadata: { block_id: "x" } }],
      ["token", "b", { content: "b2", metadata: {} }],
    );
    expect(state.nodes.map((n) => n.id)).toEqual(["a", "b"]);
    expect((state.nodes[0]!.parts[0] as TextPart).text).toBe("a1a2");
    expect(kinds(state, 1)).toEqual(["text", "reasoning", "text"]);
  });

  it("joins text by its block id, across whatever is between", () => {
    const state = play(
      ["token", "a", { content: "x", metadata: { text_block_id: "1" } }],
      ["token", "a", { content: "y", metadata: { text_block_id: "2" } }],
      ["token", "a", { content: "X", metadata: { text_block_id: "1" } }],
      ["message_complete", "a"],
      ["token", "a", { content: "new", metadata: { text_block_id: "1" } }],
    );
    expect(state.nodes[0]!.parts.map((p) => (p as TextPart).text)).toEqual(["xX", "y", "new"]);
  });

  it("keeps visits apart, and puts what a retried attempt said aside", () => {
    const state = play(
      ["token", "a", { content: "first" }],
      ["token", "a", { content: "second", metadata: { visit: 1 } }],
      ["node_retry", "a", { error: "HTTP 503", metadata: { visit: 1, attempt: 1 } }],
      ["token", "a", { content: "again", metadata: { visit: 1, attempt: 1 } }],
    );
    expect(state.nodes.map((n) => n.visit)).toEqual([0, 1]);
    const [retry, text] = state.nodes[1]!.parts;
    expect(retry).toMatchObject({ type: "retry", error: "HTTP 503" });
    expect(retry!.type === "retry" && retry!.dropped[0]).toMatchObject({ text: "second", done: true });
    expect(text).toMatchObject({ text: "again" });
    expect(answer(state)).toBe("again");
  });

  it("keeps partial text when a node fails, and names the error once", () => {
    const state = play(
      ["execution_start", "START"],
      ["token", "llm", { content: "part" }],
      ["node_error", "llm", { error: "openai/m: dropped" }],
      ["execution_error", "START", { error: "Node 'llm' failed", metadata: { status: "failed" } }],
    );
    expect(state.nodes[0]).toMatchObject({ status: "failed", error: "openai/m: dropped" });
    expect(state.nodes[0]!.parts[0]).toMatchObject({ text: "part", done: true });
    expect(state.durationMs).toBe(3000);
  });

  it("adds usage and says what is not priced", () => {
    const response = (call_id: string, cost_usd?: number) =>
      ["response_metadata", "n", { metadata: { call_id, model_id: "m", usage: { prompt_tokens: 3, completion_tokens: 2 }, ...(cost_usd === undefined ? {} : { cost_usd }) } }] as [EventType, string, object];
    const one = play(response("a"));
    expect(cost(one)).toBe("unpriced");
    expect(tokens(one)).toBe(5);
    expect(cost(play(response("a", 0)))).toBe("$0.00");
    expect(cost(play(response("a", 0.012), response("b")))).toBe("$0.012 + 1 unpriced call");
    expect(cost(play(["node_start", "n"]))).toBeNull();
  });

  it("numbers sources by first use, and results only once they are cited", () => {
    const source = (...sources: object[]) => ["source", "n", { metadata: { sources } }] as [EventType, string, object];
    const state = play(
      ["token", "n", { content: "Größe 👍 ok" }],
      source({ url: "http://r", kind: "result" }, { url: "http://a", title: "A", start: 0, end: 5 }),
      source({ url: "http://b", start: 0, end: 7, offset_unit: "code_point" }, { url: "http://a", start: 6, end: 8, offset_unit: "utf16" }),
      source({ url: "http://r", start: 0, end: 0 }),
      source({ url: "http://c", start: 0, end: 12, offset_unit: "utf8_byte" }),
    );
    const { cited, read } = sourceList(state);
    expect(cited.map((s) => [s.number, s.url])).toEqual([[1, "http://a"], [2, "http://b"], [3, "http://r"], [4, "http://c"]]);
    expect(read).toEqual([]);
    expect((state.nodes[0]!.parts[0] as TextPart).marks).toEqual([
      { at: 5, number: 1 },
      { at: 8, number: 2 },
      { at: 8, number: 1 },
      { at: null, number: 3 },
      { at: 8, number: 4 },
    ]);
  });

  it("gives citations that came before the text to the text", () => {
    const state = play(["source", "n", { metadata: { sources: [{ url: "http://a" }] } }], ["token", "n", { content: "x" }]);
    expect((state.nodes[0]!.parts[0] as TextPart).marks).toEqual([{ at: null, number: 1 }]);
  });

  it("does not let a model forge citation marks", () => {
    expect(answer(play(["token", "n", { content: "a\ue0001\ue001b" }]))).toBe("a1b");
  });

  it("updates progress in place and keeps other custom data", () => {
    const data = (data_type: string, content: unknown) =>
      ["custom_data", "n", { content, metadata: { data_type } }] as [EventType, string, object];
    const state = play(data("data-progress", { value: 1 }), data("data-x", 1), data("data-x", 2), data("data-progress", { value: 2 }));
    expect(state.nodes[0]!.parts).toMatchObject([
      { dataType: "data-progress", payload: { value: 2 } },
      { dataType: "data-x", payload: 1 },
      { dataType: "data-x", payload: 2 },
    ]);
  });

  it("takes events that it does not know, and ones whose beginning is missing", () => {
    const state = play(
      ["brand_new" as EventType, "n"],
      ["reasoning_end", "n", { metadata: { block_id: "z" } }],
      ["tool_call_complete", "n", { output: 1 }],
      ["response_metadata", "n", { metadata: { model_id: "m", usage: {} } }],
      ["step_start", "n"],
      ["step_complete", "n"],
      ["state_update", "n"],
      ["interrupt", "n", { content: "ok?" }],
      ["interrupt_resolved", "n"],
      ["execution_complete", "START", { metadata: { status: "interrupted" } }],
    );
    expect(kinds(state)).toEqual(["reasoning", "tool", "step", "interrupt"]);
    expect(state.status).toBe("interrupted");
  });
});
