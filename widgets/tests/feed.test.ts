import { describe, expect, it, vi } from "vitest";
import { Feed, type Message } from "../src/core/feed";
import { batch, events, frame, MockModel } from "./mock";
import { answer } from "../src/core/state";

const STREAM = events([
  ["execution_start", "START"],
  ["node_start", "n"],
  ["token", "n", { content: "a" }],
  ["token", "n", { content: "b" }],
  ["token", "n", { content: "c" }],
  ["token", "n", { content: "d" }],
  ["node_complete", "n"],
  ["execution_complete", "START", { metadata: { status: "completed" } }],
]);
const part = (from: number, to: number) => batch(STREAM.slice(from, to + 1));
const snapshot = (to: number): Message => ({ kind: "snapshot", to, events: STREAM.slice(0, to + 1) });

describe("Feed", () => {
  it("applies batches in order and each once", () => {
    const model = new MockModel();
    const feed = new Feed(model);
    for (const message of [part(0, 2), part(3, 3), part(3, 3), part(0, 2), part(4, 7)]) model.receive(message);
    expect(answer(feed.run)).toBe("abcd");
    expect(feed.run).toMatchObject({ status: "completed", incomplete: false });
  });

  it("asks for a snapshot on mount, once", () => {
    const model = new MockModel();
    new Feed(model, [part(0, 2)]);
    expect(model.sent).toEqual([{ kind: "snapshot" }]);
  });

  it("fetches a large file when asked", () => {
    const model = new MockModel();
    const file = events([["file", "n", { metadata: { name: "x", mime_type: "image/png", content_omitted: true, size: 9e6 } }]]);
    const feed = new Feed(model, [batch(file)]);
    expect(feed.run.nodes[0]!.parts[0]).toMatchObject({ content: null, omitted: true, size: 9e6 });
    feed.fetch(0);
    expect(model.sent.at(-1)).toEqual({ kind: "file", seq: 0 });
    model.receive({ kind: "file", seq: 0 }, [new DataView(new ArrayBuffer(3))]);
    expect(feed.files.get(0)!.byteLength).toBe(3);
  });

  it("shows what it has after a gap, asks once, and is whole after the snapshot", () => {
    const model = new MockModel();
    const feed = new Feed(model, [part(0, 2)]);
    model.receive(snapshot(2));
    model.sent.length = 0;
    model.receive(part(4, 4));
    model.receive(part(5, 5));
    expect(model.sent).toEqual([{ kind: "snapshot" }]);
    expect(feed.run.incomplete).toBe(true);
    expect(answer(feed.run)).toBe("acd");
    model.receive(snapshot(4));
    expect(answer(feed.run)).toBe("abcd");
    expect(feed.run.incomplete).toBe(false);
    model.receive(part(6, 7));
    expect(feed.run.status).toBe("completed");
  });

  it("does not let an old snapshot take back what is newer", () => {
    const model = new MockModel();
    const feed = new Feed(model, [part(0, 5)]);
    model.receive(snapshot(2));
    expect(answer(feed.run)).toBe("abcd");
  });

  it("takes the final snapshot from the trait, at the start or later", () => {
    const final = { to: 7, events: STREAM };
    const done = new Feed(new MockModel({ run_id: "r1", status: "completed", final }));
    expect(answer(done.run)).toBe("abcd");
    const model = new MockModel();
    const feed = new Feed(model);
    model.traits["final"] = final;
    model.emit("change:final");
    expect(feed.run.status).toBe("completed");
  });

  it("calls back once a frame, whatever came, and every view of the run", async () => {
    const model = new MockModel();
    const feed = new Feed(model);
    const views = [vi.fn(), vi.fn()];
    const leave = views.map((view) => feed.subscribe(view));
    for (let i = 0; i < 8; i++) model.receive(part(i, i));
    await frame();
    expect(views.map((v) => v.mock.calls.length)).toEqual([1, 1]);
    leave[0]!();
    feed.stop();
    await frame();
    expect(views.map((v) => v.mock.calls.length)).toEqual([1, 2]);
    expect(model.sent.at(-1)).toEqual({ kind: "stop" });
  });

  it("says when the kernel has gone, until it speaks again", () => {
    const model = new MockModel();
    const feed = new Feed(model, [part(0, 2)]);
    model.emit("comm_live_update");
    expect(feed.detached).toBe(true);
    model.receive(part(3, 3));
    expect(feed.detached).toBe(false);
  });
});
