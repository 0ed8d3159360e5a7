import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { EventType } from "../src/core/events";
import { Feed } from "../src/core/feed";
import { isOpen } from "../src/core/disclosure";
import { hub } from "../src/hub";
import stub from "../src/stub";
import { Painter } from "../src/views/markdown";
import { grouped } from "../src/views/node";
import { RunView } from "../src/views/run";
import { batch, events, MockModel } from "./mock";

type Row = [EventType, string, object?];

/** A mounted run that is fed row by row. */
class Stage {
  readonly model = new MockModel();
  readonly feed = new Feed(this.model, []);
  readonly el = document.body.appendChild(document.createElement("div"));
  private seq = 0;
  constructor() {
    act(() => render(<RunView feed={this.feed} />, this.el));
  }
  play(...rows: Row[]): this {
    const list = events(rows as never, this.seq);
    this.seq += list.length;
    act(() => {
      this.model.receive(batch(list));
      vi.advanceTimersToNextFrame();
    });
    return this;
  }
  wait(ms: number): void {
    act(() => void vi.advanceTimersByTime(ms));
  }
  find<T extends Element = HTMLElement>(selector: string): T | null {
    return this.el.querySelector<T>(selector);
  }
  click(selector: string): void {
    act(() => this.find(selector)!.click());
    act(() => void vi.advanceTimersToNextFrame());
  }
}

const START: Row[] = [["execution_start", "START"], ["node_start", "llm"]];
const THINK: Row[] = [
  ["reasoning_start", "llm", { metadata: { block_id: "r" } }],
  ["reasoning_token", "llm", { content: "let me see", metadata: { block_id: "r" } }],
];
const END_THINK: Row = ["reasoning_end", "llm", { metadata: { block_id: "r" } }];

beforeEach(() => vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  document.body.replaceChildren();
});

describe("a view", () => {
  it("shows what came right after its first drawing", () => {
    const model = new MockModel();
    const feed = new Feed(model, []);
    const el = document.body.appendChild(document.createElement("div"));
    render(<RunView feed={feed} />, el);
    model.receive(batch(events([...START, ["token", "llm", { content: "early" }]] as never)));
    vi.advanceTimersToNextFrame();
    vi.advanceTimersToNextFrame();
    act(() => void vi.advanceTimersByTime(1000));
    expect(el.textContent).toContain("early");
  });
});

describe("reasoning", () => {
  const details = (s: Stage) => s.find<HTMLDetailsElement>("details.reasoning")!;

  it("opens while it streams and closes once, a second after its end", () => {
    const s = new Stage().play(...START, ...THINK);
    expect(details(s).open).toBe(true);
    expect(s.find(".reasoning summary")!.textContent).toContain("Thinking…");
    s.play(END_THINK, ["token", "llm", { content: "Hi" }]);
    expect(details(s).open).toBe(true);
    expect(s.find(".reasoning summary")!.textContent).toContain("Thought for 2 s");
    s.wait(1100);
    expect(details(s).open).toBe(false);
  });

  it("leaves the choice to the reader", () => {
    const s = new Stage().play(...START, ...THINK);
    s.click(".reasoning summary");
    expect(details(s).open).toBe(false);
    s.play(["reasoning_token", "llm", { content: " more", metadata: { block_id: "r" } }]);
    expect(details(s).open).toBe(false);
    s.click(".reasoning summary");
    s.play(END_THINK);
    s.wait(5000);
    expect(details(s).open).toBe(true);
  });

  it("remembers the choice in another view of the run", () => {
    const s = new Stage().play(...START, ...THINK);
    s.click(".reasoning summary");
    const second = document.body.appendChild(document.createElement("div"));
    act(() => render(<RunView feed={s.feed} />, second));
    expect(second.querySelector<HTMLDetailsElement>("details.reasoning")!.open).toBe(false);
  });

  it("stays open when the run fails in the middle of it", () => {
    const s = new Stage().play(...START, ...THINK, ["node_error", "llm", { error: "dropped" }]);
    s.play(["execution_error", "START", { error: "x", metadata: { status: "failed" } }]);
    s.wait(5000);
    expect(details(s).open).toBe(true);
  });

  it("says when the provider keeps it", () => {
    const s = new Stage().play(...START, ["reasoning_start", "llm", { metadata: { block_id: "r", kind: "redacted" } }], END_THINK);
    expect(s.find("p.reasoning")!.textContent).toContain("The provider keeps this reasoning to itself");
  });

  it("has one rule", () => {
    const rest = { choice: undefined, streaming: false, lingering: false, stranded: false };
    expect(isOpen(rest)).toBe(false);
    expect(isOpen({ ...rest, streaming: true })).toBe(true);
    expect(isOpen({ ...rest, streaming: true, choice: false })).toBe(false);
    expect(isOpen({ ...rest, choice: true })).toBe(true);
    expect(isOpen({ ...rest, stranded: true })).toBe(true);
  });
});

describe("a run", () => {
  it("announces boundaries only, and is busy while it streams", () => {
    const s = new Stage().play(...START, ["token", "llm", { content: "Hello there" }]);
    const log = s.find("[role=log]")!;
    expect([log.getAttribute("aria-live"), log.getAttribute("aria-busy")]).toEqual(["off", "true"]);
    expect(s.find("[role=status]")!.textContent).toBe("Generating");
    s.play(
      ["response_metadata", "llm", { metadata: { model_id: "m", usage: { total_tokens: 1200 }, cost_usd: 0.004 } }],
      ["node_complete", "llm"],
      ["execution_complete", "START", { metadata: { status: "completed", duration_ms: 4200 } }],
    );
    expect(s.find("[role=status]")!.textContent).toBe("Done, 2 words, 1,200 tokens, $0.0040");
    expect(s.find("[role=log]")!.getAttribute("aria-busy")).toBe("false");
    expect(s.find("header")!.textContent).toContain("4.2 s");
  });

  it("stops by its button, and says so when the kernel is too busy", () => {
    const s = new Stage().play(...START);
    s.click("button.stop");
    expect(s.model.sent).toContainEqual({ kind: "stop" });
    expect(s.find<HTMLButtonElement>("button.stop")!.disabled).toBe(true);
    s.wait(2100);
    expect(s.find("header")!.textContent).toContain("interrupt it");
    s.play(["execution_error", "START", { error: "x", metadata: { status: "cancelled" } }]);
    expect(s.find("button.stop")).toBeNull();
    expect(s.el.textContent).toContain("Stopped before the end.");
    expect(s.find("[role=alert]")).toBeNull();
  });

  it("says in a sentence what failed and what was kept, once", () => {
    const s = new Stage().play(
      ...START,
      ["token", "llm", { content: "three words here" }],
      ["node_error", "llm", { error: "openai/m (HTTP 500): the server failed." }],
      ["execution_error", "START", { error: "Node 'llm' failed: ...", metadata: { status: "failed" } }],
    );
    expect(s.el.querySelectorAll("[role=alert]")).toHaveLength(1);
    const text = s.find("[role=alert]")!.textContent;
    for (const words of ["Node llm failed", "HTTP 500", "Kept: 3 words."]) expect(text).toContain(words);
  });

  it("shows what is spent of the nearest limit over many runs", () => {
    const limits = [
      { scope: "notebook", per: "day", usd: 2.5, spent_usd: 0.4321 },
      { scope: "project", per: "month", usd: 100, spent_usd: 2 },
    ];
    const told = (given: unknown) => {
      const run = new Stage().play(...START, [
        "response_metadata",
        "llm",
        { metadata: { model_id: "m", usage: { total_tokens: 5 }, cost_usd: 0.25, limits: given } },
      ]);
      return run.find("button.usage")!.textContent;
    };
    expect(told(limits)).toBe("5 tokens · $0.250 · $0.432 of $2.50 today");
    expect(told([null, { usd: "x" }, 5])).toBe("5 tokens · $0.250");
    expect(told("none")).toBe("5 tokens · $0.250");
  });

  it("shows no $0 for a call that nobody priced", () => {
    const s = new Stage().play(...START, ["response_metadata", "llm", { metadata: { model_id: "m", usage: { total_tokens: 5 } } }]);
    expect(s.find("button.usage")!.textContent).toBe("5 tokens · unpriced");
    s.click("button.usage");
    expect(s.find("table")!.textContent).toContain("unpriced");
  });

  it("says what was replayed, reused or cached, and that it cost nothing", () => {
    const usage = { prompt_tokens: 5, completion_tokens: 2 };
    const s = new Stage().play(
      ...START,
      ["response_metadata", "llm", { metadata: { model_id: "m", usage, replayed: true, cost_usd: 0, original_cost_usd: 0.0123 } }],
      ["node_start", "plan", { metadata: { reused: true } }],
      ["response_metadata", "plan", { metadata: { model_id: "m", usage, reused: true, cost_usd: 0.02 } }],
      ["node_complete", "plan", { metadata: { reused: true } }],
    );
    expect(s.find("button.usage")!.textContent).toBe("14 tokens · $0.00 · 1 of 2 calls reused, 1 of 2 calls replayed, would have cost $0.032");
    expect([...s.el.querySelectorAll(".label .again")].map((b) => b.textContent)).toEqual(["reused"]);
    s.click("button.usage");
    expect(s.find("table")!.textContent).toContain("$0.00, replayed ($0.012)");
    expect(s.find("table")!.textContent).toContain("$0.00, reused ($0.020)");
  });

  it("takes words that no table of ours has", () => {
    const s = new Stage().play(
      ...START,
      ["tool_call_complete", "llm", { output: 1, metadata: { tool_name: "t", status: "constructor" } }],
      ["execution_error", "START", { metadata: { status: "__proto__" } }],
    );
    expect(s.find("header .state")!.textContent).toBe("Ended");
  });

  it("plays audio, opens a PDF and shows the rows that came with a table", () => {
    URL.createObjectURL = () => "blob:x";
    const file = (name: string, mime_type: string, more = {}): Row => ["file", "llm", { metadata: { name, mime_type, content: "AAAA", ...more } }];
    const s = new Stage().play(
      ...START,
      file("a.wav", "audio/wav"),
      file("b.pdf", "application/pdf"),
      file("c.csv", "text/csv", { preview: { rows: [{ a: "1" }], total: 61 } }),
      file("d.html", "audio/wav+html"),
    );
    expect(s.el.querySelectorAll("audio")).toHaveLength(1);
    expect(s.find('[aria-label="Open b.pdf"]')).not.toBeNull();
    expect(s.find("figure.wide table")!.textContent).toBe("a1");
    expect(s.find("figure.wide .note")!.textContent).toBe("11 more rows");
  });

  it("folds consecutive tool calls and shows records as a table", () => {
    const call = (id: string, output: unknown): Row => [
      "tool_call_complete",
      "llm",
      { output, metadata: { tool_call_id: id, tool_name: "load", arguments: { n: 1 }, status: "ok", duration_ms: 30 } },
    ];
    const s = new Stage().play(...START, call("1", [{ a: 1 }, { a: 2 }]), ["step_complete", "llm"], ["step_start", "llm"], call("2", "<b>x</b>"));
    expect(s.find("details.tools > summary")!.textContent).toContain("2 tool calls");
    s.click("details.tools > summary");
    s.click("details.tool > summary");
    expect([...s.el.querySelectorAll("td")].map((td) => td.textContent)).toEqual(["1", "2"]);
    act(() => s.el.querySelectorAll<HTMLElement>("details.tool > summary")[1]!.click());
    expect(s.find("b")).toBeNull();
  });

  it("does not show an SVG or a page, but offers it", () => {
    const s = new Stage().play(...START, ["file", "llm", { metadata: { name: "x.svg", mime_type: "image/svg+xml", content: "PHN2Zz4=" } }]);
    expect(s.find("figure img")).toBeNull();
    expect(s.find("figure")!.textContent).toContain("x.svg");
    expect(s.find("figure button")!.getAttribute("aria-label")).toBe("Download x.svg");
  });

  it("names nodes when there are several, and draws a real progress bar", () => {
    const s = new Stage().play(
      ...START,
      ["node_start", "judge"],
      ["custom_data", "judge", { content: { value: 3, total: 4, label: "Reading" }, metadata: { data_type: "data-progress" } }],
    );
    expect([...s.el.querySelectorAll(".node .name")].map((n) => n.textContent)).toEqual(["llm", "judge"]);
    expect(s.find<HTMLProgressElement>("progress")!.value).toBe(0.75);
  });
});

describe("citations", () => {
  const cite = (sources: object[]): Row => ["source", "llm", { metadata: { sources } }];

  it("stand where the offsets say, in text, code and links, and at the end when there is no place", () => {
    const text = "First claim. See `code` and [link](https://l.test).\n\n```\nx\n```\n\nLast words.";
    const s = new Stage().play(...START, ["token", "llm", { content: text }]);
    const at = (words: string) => text.indexOf(words) + words.length;
    s.play(
      cite([
        { url: "https://a.test", end: at("claim."), start: 1 },
        { url: "https://b.test", end: at("`cod"), start: 1 },
        { url: "https://c.test", end: at("[lin"), start: 1 },
        { url: "https://d.test", end: at("```\nx"), start: 1 },
        { url: "https://e.test", start: 0, end: 0 },
      ]),
      ["message_complete", "llm"],
    );
    expect([...s.el.querySelectorAll(".markdown .chip")].map((c) => c.textContent)).toEqual(["1", "2", "3", "4", "5"]);
    expect(s.find("code .chip, a .chip, pre .chip")).toBeNull();
    expect(s.find(".markdown a")!.getAttribute("href")).toBe("https://l.test");
    expect(s.el.textContent).not.toMatch(/[\ue000\ue001]/);
    expect([...s.el.querySelectorAll("footer li")].map((li) => (li as HTMLLIElement).value)).toEqual([1, 2, 3, 4, 5]);
  });

  it("open a card with title, domain and quote, without a link that runs code", () => {
    const s = new Stage().play(
      ...START,
      ["token", "llm", { content: "A claim." }],
      cite([
        { url: "https://www.a.test/x", title: "The <b>title</b>", cited_text: "the quote", start: 0, end: 8 },
        { url: "javascript:alert(1)", title: "bad" },
        { url: "https://r.test", title: "read", kind: "result" },
      ]),
      ["message_complete", "llm"],
    );
    act(() => void s.find(".chip")!.dispatchEvent(new FocusEvent("focusin", { bubbles: true })));
    const card = s.find(".card")!;
    for (const words of ["The <b>title</b>", "a.test", "the quote"]) expect(card.textContent).toContain(words);
    act(() => void s.find(".chip")!.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true })));
    expect(s.find(".card")!.textContent).toBe("");
    expect(s.find("a[href^=javascript]")).toBeNull();
    expect(s.find("details.read summary")!.textContent).toContain("1 source");
  });
});

describe("Painter", () => {
  it("never touches a block that is finished", () => {
    const root = document.createElement("div");
    const painter = new Painter(root);
    const text = "# One\n\nTwo **bold**\n\n```py\nx = 1\n```\n\nThree\n\nFour";
    const seen = new Map<Element, string>();
    for (let end = 1; end <= text.length; end++) {
      painter.paint(text.slice(0, end), false, [], () => true);
      for (const [block, before] of seen) {
        expect(block.isConnected || root.contains(block)).toBe(true);
        expect(block.innerHTML).toBe(before);
      }
      for (const block of root.querySelectorAll(".chunk > .block")) seen.set(block, block.innerHTML);
    }
    expect(seen.size).toBe(3);
    painter.paint(text, true, [], () => true);
    expect(root.textContent).toContain("Four");
    expect(root.querySelector(".open")).toBeNull();
  });

  it("gives way when its time is over and goes on where it was", () => {
    const root = document.createElement("div");
    const painter = new Painter(root);
    const text = Array.from({ length: 50 }, (_, i) => `Paragraph ${i}\n\n`).join("");
    let rounds = 0;
    while (!painter.paint(text, true, [], () => false)) expect(++rounds).toBeLessThan(500);
    expect(root.querySelectorAll("p")).toHaveLength(50);
  });

  it("loads a remote image only when asked, without a referrer", () => {
    const root = document.body.appendChild(document.createElement("div"));
    new Painter(root).paint("![c](https://e.test/c.png)", true, [], () => true);
    expect(root.querySelector("button.image")!.textContent).toBe("Load image from e.test: c");
    root.querySelector<HTMLElement>("button.image")!.click();
    expect(root.querySelector("img")!.referrerPolicy).toBe("no-referrer");
  });
});

describe("grouping", () => {
  it("hides steps, native events and messages without a word", () => {
    const s = new Stage().play(
      ...START,
      ["step_start", "llm"],
      ["token", "llm", { content: "\n" }],
      ["custom_data", "llm", { content: {}, metadata: { data_type: "native" } }],
      ["tool_call_start", "llm", { metadata: { tool_call_id: "1", tool_name: "t" } }],
    );
    expect(grouped(s.feed.run.nodes[0]!.parts)).toHaveLength(1);
  });
});

describe("stub", () => {
  it("hands what came before the hub to one store, and every view draws it", async () => {
    const model = new MockModel();
    const widget = stub();
    widget.initialize({ model });
    model.receive(batch(events([...START, ["token", "llm", { content: "early" }]] as never)));
    const els = [0, 1].map(() => document.body.appendChild(document.createElement("div")));
    for (const el of els) widget.render({ model, el });
    await act(async () => void (await vi.advanceTimersByTimeAsync(100)));
    for (const el of els) {
      expect(el.firstElementChild!.shadowRoot!.textContent).toContain("early");
      expect(el.hasAttribute("data-lm-suppress-shortcuts")).toBe(true);
    }
    expect(model.handlers.get("msg:custom")!.size).toBe(1);
  });

  it("asks for the bundle when no hub comes, and stays calm without a kernel", async () => {
    vi.resetModules();
    const page = globalThis as unknown as Record<string, unknown>;
    const before = page["mesh_nb"];
    delete page["mesh_nb"];
    const model = new MockModel();
    const widget = stub();
    widget.initialize({ model });
    const el = document.createElement("div");
    widget.render({ model, el });
    await vi.advanceTimersByTimeAsync(1600);
    expect(model.sent).toEqual([{ kind: "bundle" }]);
    await vi.advanceTimersByTimeAsync(4000);
    expect(el.textContent).toBe("Run r1: start the kernel to see it live; the saved output shows the answer.");
    page["mesh_nb"] = before;
  });

  it("leaves an element as it found it", () => {
    const el = document.createElement("div");
    hub.mount(new Feed(new MockModel()), el)();
    expect(el.childElementCount).toBe(0);
  });
});
