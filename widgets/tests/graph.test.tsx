import { readFileSync } from "node:fs";
import { join } from "node:path";
import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { questions } from "../src/core/ask";
import { Feed } from "../src/core/feed";
import { outlineOf, progressOf } from "../src/core/flow";
import { drawings, type Drawings } from "../src/core/more";
import { HEIGHT, layout, type Outline, type PlacedNode } from "../src/core/layout";
import { reduce } from "../src/core/reduce";
import { newRun } from "../src/core/state";
import * as drawn from "../src/drawings";
import { parsed } from "../src/views/approval";
import { stepOf } from "../src/views/custom";
import { placed } from "../src/views/graph";
import { RunView } from "../src/views/run";
import { batch, events, MockModel } from "./mock";

const width = () => 80;
const graph = (edges: string[], nodes?: string[]): Outline => {
  const pairs = edges.map((e) => e.replace(/[~?]/, "").split(">") as [string, string]);
  const ids = nodes ?? [...new Set(pairs.flat())];
  return {
    nodes: ids.map((id) => ({ id, kind: "llm" })),
    edges: pairs.map(([source, target], i) => ({ source, target, ...(edges[i]!.startsWith("~") ? { kind: "loop", label: "max: 3" } : {}) })) as Outline["edges"],
  };
};
const DIAMOND = graph(["a>b", "a>c", "b>d", "c>d", "~d>a"]);

describe("layout", () => {
  const at = (nodes: PlacedNode[], id: string) => nodes.find((n) => n.id === id)!;

  it("puts every node right of its parents, and branches beside each other around their middle", () => {
    const { nodes, width: w, height } = layout(DIAMOND, width);
    for (const [a, b] of [["a", "b"], ["a", "c"], ["b", "d"], ["c", "d"]] as const)
      expect(at(nodes, a).x + 80).toBeLessThan(at(nodes, b).x);
    expect(at(nodes, "b").y + HEIGHT).toBeLessThan(at(nodes, "c").y);
    const middle = (at(nodes, "b").y + at(nodes, "c").y) / 2;
    expect(at(nodes, "a").y).toBeCloseTo(middle, 0);
    expect(at(nodes, "d").y).toBeCloseTo(middle, 0);
    for (const n of nodes) {
      expect(n.x).toBeGreaterThanOrEqual(0);
      expect(n.x + n.width).toBeLessThanOrEqual(w);
      expect(n.y + HEIGHT).toBeLessThanOrEqual(height);
    }
  });

  it("never lets two nodes overlap, whatever the graph", () => {
    let seed = 7;
    const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
    for (let round = 0; round < 60; round++) {
      const ids = Array.from({ length: 2 + Math.floor(random() * 14) }, (_, i) => `n${i}`);
      const edges = Array.from({ length: ids.length * 2 }, () => `${ids[Math.floor(random() * ids.length)]}>${ids[Math.floor(random() * ids.length)]}`);
      const { nodes, edges: drawn } = layout(graph(edges, ids), (n) => 40 + n.id.length * 10);
      expect(drawn).toHaveLength(edges.length);
      for (const a of nodes)
        for (const b of nodes)
          if (a !== b) expect(a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + HEIGHT <= b.y || b.y + HEIGHT <= a.y).toBe(true);
      for (const edge of drawn) expect(edge.path).not.toMatch(/NaN|Infinity/);
    }
  });

  it("leads a loop below everything, and draws cycles that nobody declared", () => {
    const drawn = layout(DIAMOND, width);
    const loop = drawn.edges.find((e) => e.kind === "loop")!;
    expect(loop.at[1]).toBeGreaterThan(Math.max(...drawn.nodes.map((n) => n.y + HEIGHT)));
    expect(layout(graph(["a>b", "b>a", "a>a"]), width).edges).toHaveLength(3);
  });

  it("puts everything where static output has it", () => {
    interface Drawn {
      outline: object;
      nodes: [number, number, number][];
      edges: [string, boolean, string, string][];
      size: [number, number];
    }
    const drawn = JSON.parse(readFileSync(join(import.meta.dirname, "..", "..", "build", "graphs.json"), "utf8")) as Drawn[];
    expect(drawn.length).toBeGreaterThan(100);
    for (const { outline, nodes, edges, size } of drawn) {
      const found = placed(outlineOf(outline)!);
      expect(found.nodes.map(({ x, y, width }) => [x, y, width])).toEqual(nodes);
      expect(found.edges.map(({ path, down, at }) => [path, down, ...at.map(String)])).toEqual(edges);
      expect([found.width, found.height]).toEqual(size);
    }
  });

  it("takes a chain of any length, and is the same each time", () => {
    const ids = Array.from({ length: 3000 }, (_, i) => `n${i}`);
    const chain = graph(ids.slice(1).map((id, i) => `n${i}>${id}`), ids);
    expect(layout(chain, width).nodes.at(-1)!.x).toBeGreaterThan(80 * 2999);
    expect(layout(DIAMOND, width)).toEqual(layout(DIAMOND, width));
  });
});

type Row = [string, string, object?];
const play = (...rows: Row[]) => {
  const run = newRun("r");
  for (const event of events(rows as never)) reduce(run, event);
  return run;
};
const START: Row = ["execution_start", "START", { metadata: { graph_id: "g", graph: DIAMOND } }];
const visit = (id: string, n = 0): Row[] => [
  ["node_start", id, { metadata: n ? { visit: n } : {} }],
  ["node_complete", id, { metadata: n ? { visit: n } : {} }],
];

describe("flow", () => {
  it("reads the graph of execution_start, and nothing that is not one", () => {
    expect(outlineOf(DIAMOND)).toEqual(DIAMOND);
    for (const odd of [null, 1, "x", {}, { nodes: [] }, { nodes: [1, {}] }]) expect(outlineOf(odd)).toBeNull();
    expect(outlineOf({ nodes: [{ id: "a" }, { id: "a" }], edges: [{ source: 1 }, null] })!.nodes).toHaveLength(1);
  });

  it("counts what each edge was taken, round a loop too", () => {
    const run = play(START, ...visit("a"), ...visit("b"), ...visit("c"), ...visit("d"), ...visit("a", 1), ...visit("b", 1));
    const taken = Object.fromEntries([...run.flow.taken].map(([e, n]) => [`${e.source}${e.target}`, n]));
    expect(taken).toEqual({ ab: 2, ac: 1, bd: 1, cd: 1, da: 1 });
  });

  it("says how each node stands; what runs inside a node counts as the node", () => {
    const run = play(START, ...visit("a"), ["node_start", "b"], ["node_start", "b.inner"], ["node_complete", "b.inner"], ["node_start", "c"]);
    const states = () => Object.fromEntries([...progressOf(run)].map(([id, p]) => [id, p.progress]));
    expect(states()).toEqual({ a: "completed", b: "running", c: "running", d: "idle" });
    expect(progressOf(run).get("b")!.visits).toBe(1);
    for (const event of events([["node_error", "b", { error: "x" }], ["execution_error", "START", { metadata: { status: "failed" } }]], 99)) reduce(run, event);
    expect(states()).toEqual({ a: "completed", b: "failed", c: "stopped", d: "skipped" });
  });
});

const asks = (more: object = {}): Row => [
  "interrupt",
  "b",
  { metadata: { interrupt_id: "q1", kind: "tool", message: "May I?", tool_name: "send", arguments: { to: "ana" }, cost_usd: 0.02, ...more } },
];

describe("a run in the page", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    drawings.here = drawn;
  });
  afterEach(() => {
    vi.useRealTimers();
    document.body.replaceChildren();
  });
  const stage = (...rows: Row[]) => {
    const model = new MockModel();
    const feed = new Feed(model, []);
    const el = document.body.appendChild(document.createElement("div"));
    act(() => render(<RunView feed={feed} />, el));
    let seq = 0;
    const more = (...next: Row[]) => {
      const list = events(next as never, seq);
      seq += list.length;
      act(() => {
        model.receive(batch(list));
        vi.advanceTimersToNextFrame();
      });
    };
    const settle = () => act(() => void vi.advanceTimersByTime(50));
    const button = (name: string) => [...el.querySelectorAll("button")].find((b) => b.textContent === name)!;
    const click = (target: Element) => {
      act(() => void target.dispatchEvent(new MouseEvent("click", { bubbles: true })));
      settle();
    };
    const type = (selector: string, text: string) => {
      const area = el.querySelector<HTMLTextAreaElement>(selector)!;
      act(() => {
        area.value = text;
        area.dispatchEvent(new InputEvent("input", { bubbles: true }));
      });
      settle();
    };
    more(...rows);
    const answers = () => model.sent.filter((m) => (m as { kind: string }).kind === "answer");
    return { model, feed, el, more, button, click, type, answers, settle };
  };

  it("draws the graph with the state of each node, and filters by a click or a key", () => {
    const s = stage(START, ...visit("a"), ["node_start", "b"], ["token", "b", { content: "from b" }], ["node_start", "c"], ["token", "c", { content: "from c" }]);
    const box = (id: string) => s.el.querySelector(`[data-node="${id}"]`)!;
    // SVG knows this attribute in lower case only.
    expect(box("a").getAttribute("tabindex")).toBe("0");
    expect(["a", "b", "d"].map((id) => box(id).getAttribute("aria-label"))).toEqual(["a, llm, done", "b, llm, running", "d, llm, not started"]);
    s.click(box("b"));
    expect(s.el.textContent).toContain("from b");
    expect(s.el.textContent).not.toContain("from c");
    act(() => void box("b").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true })));
    s.settle();
    expect(s.el.textContent).toContain("from c");
  });

  it("keeps the graph's room until its module has come, and asks for that once", () => {
    drawings.here = null;
    const s = stage(START, ...visit("a"), ["node_start", "b"]);
    const asks = () => s.model.sent.filter((m) => (m as { name?: string }).name === "graph");
    expect(asks()).toEqual([{ kind: "bundle", name: "graph" }]);
    expect(s.el.querySelector("svg[viewBox^='0 0'] .edge")).toBeNull();
    const room = Number.parseFloat(s.el.querySelector<HTMLElement>(".graph")!.style.height);
    act(() => drawings.provide(drawn as Drawings));
    s.settle();
    const svg = s.el.querySelector(".graph svg")!;
    expect(svg.querySelectorAll(".box")).toHaveLength(4);
    expect(Number(svg.getAttribute("height")) + 12).toBe(room);
    expect(s.el.querySelector(".timeline")).not.toBeNull();
    expect(asks()).toHaveLength(1);
  });

  it("does not ask for the module for a run of one node", () => {
    drawings.here = null;
    const s = stage(["execution_start", "START", { metadata: { graph: graph([], ["llm"]) } }], ...visit("llm"));
    expect(s.model.sent.filter((m) => (m as { kind: string }).kind === "bundle")).toEqual([]);
  });

  it("lets go of its model when that has gone", () => {
    const s = stage(START, ...visit("a"));
    expect(s.model.listening).toBeGreaterThan(0);
    act(() => s.feed.close());
    expect(s.model.listening).toBe(0);
    s.more(["node_start", "b"]);
    expect(s.el.textContent).not.toContain("b, llm, running");
  });

  it("shows no graph for one node, and a bar for very many", () => {
    expect(stage(["execution_start", "START", { metadata: { graph: graph([], ["llm"]) } }]).el.querySelector(".graph")).toBeNull();
    const many = graph([], Array.from({ length: 61 }, (_, i) => `n${i}`));
    const s = stage(["execution_start", "START", { metadata: { graph: many } }], ...visit("n0"));
    expect(s.el.querySelector(".graph")).toBeNull();
    expect(s.el.textContent).toContain("1 of 61 nodes done");
  });

  it("asks for an approval, sends the answer once, and says what became of it", () => {
    const s = stage(START, ["node_start", "b"], asks());
    expect(s.el.querySelector(".ask")!.textContent).toMatch(/Call send\?.*\$0\.020 so far.*May I\?.*ana/s);
    expect(s.el.querySelector("header")!.textContent).toContain("Waiting for you");
    expect(s.el.querySelector("[role=status]")!.textContent).toBe("Waiting for your answer");
    s.click(s.button("Approve"));
    s.click(s.button("Approve"));
    expect(s.answers()).toEqual([{ kind: "answer", interrupt_id: "q1", decision: "approve" }]);
    expect(s.button("Approve").disabled).toBe(true);
    act(() => void vi.advanceTimersByTime(4000));
    expect(s.el.textContent).toContain("The kernel is busy");
    s.more(["interrupt_resolved", "b", { metadata: { interrupt_id: "q1", decision: "approved", by: "person" } }]);
    expect(s.el.querySelector(".ask")).toBeNull();
    expect(s.el.querySelector(".answered")!.textContent).toBe("Approved: send");
    expect(questions(s.feed.run)).toEqual([]);
  });

  it("lets the arguments be edited as JSON, and refuses what is none", () => {
    const s = stage(START, ["node_start", "b"], asks());
    s.click(s.button("Edit"));
    s.type("textarea", '{"to": ');
    expect(s.el.querySelector("[role=alert]")!.textContent).toContain("not JSON");
    expect(s.button("Approve with changes").disabled).toBe(true);
    s.type("textarea", '{"to": "bo"}');
    act(() => void s.el.querySelector("textarea")!.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", ctrlKey: true, bubbles: true })));
    expect(s.answers()).toEqual([{ kind: "answer", interrupt_id: "q1", decision: "edit", value: { to: "bo" } }]);
    expect(parsed("[1]", true)[1]).toContain("JSON object");
    expect(parsed("[1]", false)).toEqual([[1], ""]);
  });

  it("denies with a message, and shows what the kernel says against an answer", () => {
    const s = stage(START, ["node_start", "b"], asks());
    s.click(s.button("Deny"));
    s.type("input", "not today");
    s.click(s.button("Deny"));
    expect(s.answers()).toEqual([{ kind: "answer", interrupt_id: "q1", decision: "reject", message: "not today" }]);
    act(() => {
      s.model.receive({ kind: "refused", interrupt_id: "q1", message: "No such question." });
      vi.advanceTimersToNextFrame();
    });
    expect(s.el.textContent).toContain("No such question.");
    expect(s.button("Deny").disabled).toBe(false);
  });

  it("takes words for a question that wants some", () => {
    const s = stage(START, ["node_start", "b"], asks({ kind: "input", tool_name: undefined, arguments: undefined, message: "Which city?" }));
    expect(s.button("Answer").disabled).toBe(true);
    s.type("textarea", "Paris");
    s.click(s.button("Answer"));
    expect(s.answers()).toEqual([{ kind: "answer", interrupt_id: "q1", decision: "edit", value: "Paris" }]);
  });

  it("counts down a wait for a rate limit, and lists the steps of a recursive model", () => {
    const custom = (type: string, content: unknown): Row => ["custom_data", "b", { content, metadata: { data_type: type } }];
    const s = stage(START, ["node_start", "b"], custom("data-retry", { reason: "HTTP 429", delay_s: 30 }));
    expect(s.el.querySelector(".again")!.textContent).toMatch(/Asking again after HTTP 429\s*in 30 s/);
    act(() => void vi.advanceTimersByTime(5000));
    expect(s.el.querySelector(".again")!.textContent).toContain("in 25 s");
    s.more(custom("data-rlm-step-start", { step: 1 }), custom("data-rlm-probe", { tool: "search" }), custom("data-rlm-error", { error: "no" }));
    expect(s.el.querySelector(".again")!.textContent).toBe("Asked again after HTTP 429");
    expect([...s.el.querySelectorAll(".steps .title")].map((t) => t.textContent)).toEqual(["step start 1", "probe", "error"]);
    expect(stepOf({ type: "custom", key: "", rev: 0, at: 0, dataType: "data-rlm-note", payload: { text: "a note" } })).toEqual({ name: "note", text: "a note", bad: false });
  });

  it("voids what an answer had said before it began again", () => {
    const s = stage(START, ["node_start", "b"], ["model_call_start", "b"], ["token", "b", { content: "void words" }], ["custom_data", "b", { content: {}, metadata: { data_type: "data-restart" } }], ["token", "b", { content: "real words" }]);
    expect(s.el.textContent).toContain("real words");
    expect(s.el.textContent).not.toContain("void words");
    expect(s.el.querySelector(".retry")!.textContent).toContain("The answer began again");
  });

  const NESTED = { nodes: [{ id: "a", kind: "llm" }, { id: "b", kind: "subgraph", graph: { ...graph(["x>y", "~y>x"]) } }], edges: [{ source: "a", target: "b" }] };
  const nested = (...rows: Row[]) => stage(["execution_start", "START", { metadata: { graph: NESTED } }], ...visit("a"), ["node_start", "b"], ...rows);
  const label = (s: ReturnType<typeof stage>, id: string) => s.el.querySelector(`[data-node="${id}"]`)!.getAttribute("aria-label");

  it("shows the graph inside a node when the reader wants it, with its states, counts and loop", () => {
    const s = nested(...visit("b.x"), ...visit("b.y"), ["node_start", "b.x", { metadata: { visit: 1 } }]);
    expect(s.el.querySelectorAll(".graph")).toHaveLength(1);
    const more = () => s.el.querySelector("[data-inside=b]")!;
    expect(more().getAttribute("aria-label")).toBe("2 nodes inside b");
    act(() => void more().dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true })));
    s.settle();
    expect(more().getAttribute("aria-expanded")).toBe("true");
    expect(label(s, "b.x")).toBe("b.x, llm, running, 2 visits");
    expect(label(s, "b.y")).toBe("b.y, llm, done");
    const inside = s.el.querySelector(".inside .graph")!;
    expect([...inside.querySelectorAll(".box > text")].map((t) => t.textContent)).toEqual(["x", "y"]);
    expect(inside.querySelector(".edge.loop text")!.textContent).toBe("↻ 1/3");
    s.click(more());
    expect(s.el.querySelector(".inside")).toBeNull();
  });

  it("filters by a node with all that runs inside it, and by one inside", () => {
    const say = (id: string): Row => ["token", id, { content: `said by ${id}` }];
    const s = nested(say("a"), ["node_start", "b.x"], say("b.x"), ["node_start", "b.y"], say("b.y"));
    const shown = () => ["a", "b.x", "b.y"].filter((id) => s.el.querySelector(".transcript")!.textContent!.includes(`said by ${id}`));
    s.click(s.el.querySelector("[data-node=b]")!);
    expect(shown()).toEqual(["b.x", "b.y"]);
    s.click(s.el.querySelector("[data-inside=b]")!);
    expect(shown()).toEqual(["b.x", "b.y"]);
    s.click(s.el.querySelector('[data-node="b.y"]')!);
    expect(shown()).toEqual(["b.y"]);
  });

  it("says of a node that it waits when one inside it does", () => {
    const s = nested(["node_start", "b.x"], ["interrupt", "b.x", { metadata: { interrupt_id: "q1", kind: "tool", message: "May I?" } }]);
    expect(label(s, "b")).toBe("b, subgraph, waiting for an answer");
  });

  it("reads graphs inside graphs to a limit only", () => {
    const deep: Record<string, unknown> = { nodes: [{ id: "n" }, { id: "m" }], edges: [] };
    deep["nodes"] = [{ id: "n", graph: deep }, { id: "m" }];
    let depth = 0;
    for (let at = outlineOf(deep); at; at = at.nodes[0]!.inside ?? null) depth++;
    expect(depth).toBe(5);
  });

  describe("its timeline", () => {
    const opened = (count: number) => {
      const ids = Array.from({ length: count }, (_, i) => `n${i}`);
      const s = stage(["execution_start", "START", { metadata: { graph: graph([], ids) } }], ...ids.flatMap((id) => visit(id)));
      s.click(s.el.querySelector(".timeline > summary")!);
      const names = () => [...s.el.querySelectorAll(".rows button .who")].map((w) => w.textContent);
      const box = s.el.querySelector<HTMLElement>(".rows")!;
      const heights = () => [...box.querySelectorAll<HTMLElement>(":scope > div[style]")].map((d) => Number.parseFloat(d.style.height));
      const press = (key: string) => {
        act(() => void box.querySelector(".axis")!.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })));
        s.settle();
      };
      const note = () => s.el.querySelector(".zoom .note")!.textContent;
      return { ...s, names, box, heights, press, note };
    };

    it("draws of 2,000 rows those in sight, and keeps the room of the others", () => {
      const s = opened(2000);
      expect(s.names().length).toBeLessThan(60);
      const total = () => s.heights().reduce((sum, h) => sum + h, 0) + s.names().length * 22;
      expect(total()).toBe(2000 * 22);
      act(() => {
        s.box.scrollTop = 1000 * 22;
        s.box.dispatchEvent(new Event("scroll"));
      });
      s.settle();
      expect(s.names()).toContain("n1000");
      expect(s.names()).not.toContain("n0");
      expect(total()).toBe(2000 * 22);
    });

    it("zooms, moves and goes back by keys", () => {
      const s = opened(100);
      expect(s.note()).toBe("100 visits");
      s.press("+");
      expect(s.note()).toBe("50 s to 2 min 30 s: 51 of 100 visits");
      expect(s.names()).not.toContain("n0");
      s.press("ArrowRight");
      expect(s.note()).toMatch(/^1 min 15 s to 2 min 55 s/);
      s.press("-");
      expect(s.note()).toBe("100 visits");
      for (let n = 0; n < 40; n++) s.press("+");
      expect(s.names().length).toBeGreaterThan(0);
      s.press("0");
      expect(s.note()).toBe("100 visits");
    });

    it("zooms into what is dragged over; a press that does not move is a click on its row", () => {
      const s = opened(100);
      const track = s.box.querySelector(".axis .track")!;
      track.getBoundingClientRect = () => ({ left: 100, right: 300, width: 200 }) as DOMRect;
      expect(s.note()).toBe("100 visits");
      s.box.getBoundingClientRect = () => ({ left: 0 }) as DOMRect;
      const row = s.box.querySelector("button .track")!;
      const pointer = (type: string, clientX: number) => {
        act(() => void row.dispatchEvent(Object.assign(new MouseEvent(type, { bubbles: true, clientX, button: 0 }), { pointerId: 1 })));
        s.settle();
      };
      pointer("pointerdown", 150);
      pointer("pointermove", 200);
      expect(s.box.querySelector<HTMLElement>(".brush")!.style.width).toBe("50px");
      pointer("pointerup", 200);
      // The click that ends a drag chooses no row.
      s.click(s.box.querySelector("button .track")!);
      expect(s.box.querySelector(".brush")).toBeNull();
      expect(s.note()).toMatch(/^50 s to 1 min 40 s/);
      expect(s.feed.only).toBeNull();
      s.click(s.button("Whole run"));
      pointer("pointerdown", 50);
      pointer("pointermove", 150);
      pointer("pointerup", 150);
      expect(s.note()).toBe("100 visits");
      pointer("pointerdown", 150);
      pointer("pointerup", 150);
      s.click(s.box.querySelector("button .track")!);
      expect(s.feed.only).toBe("n0");
    });
  });

  it("draws a timeline with a row for each visit", () => {
    const s = stage(START, ...visit("a"), ["node_start", "b"], ["token", "b", { content: "x" }], ["node_retry", "b", { error: "again" }]);
    s.click(s.el.querySelector(".timeline > summary")!);
    expect([...s.el.querySelectorAll(".rows button .who")].map((w) => w.textContent)).toEqual(["a", "b"]);
    expect(s.el.querySelectorAll(".rows .first, .rows .tick")).toHaveLength(2);
  });
});
