// One run, four views: while it goes on, played again from its log, from a snapshot in its middle, and frozen.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ExecutionEvent } from "../src/core/events";
import { Feed, type Batch, type Snapshot } from "../src/core/feed";
import { reduce } from "../src/core/reduce";
import { newRun, type RunState } from "../src/core/state";
import { RunView } from "../src/views/run";
import { ofFrozen, ofLive } from "./content";
import { MockModel } from "./mock";

interface Recording {
  name: string;
  log: ExecutionEvent[];
  batches: Batch[];
  snapshots: { after: number; message: Snapshot }[];
  html: string;
  plain: string;
}

const RECORDINGS = JSON.parse(readFileSync(join(import.meta.dirname, "..", "..", "build", "recordings.json"), "utf8")) as Recording[];
const OWN = RECORDINGS.filter((r) => r.name.startsWith("own/"));
const RECORDED = RECORDINGS.filter((r) => !r.name.startsWith("own/"));

/** A view whose folds are all open. */
class View {
  readonly model: MockModel;
  readonly feed: Feed;
  readonly el = document.body.appendChild(document.createElement("div"));
  constructor(final: object | null = null) {
    this.model = new MockModel({ run_id: "r", status: "running", final });
    this.feed = new Feed(this.model, []);
    this.feed.choices.get = () => true;
    act(() => render(<RunView feed={this.feed} />, this.el));
  }
  take(...messages: (Batch | Snapshot)[]): this {
    for (const message of messages)
      act(() => {
        this.model.receive(message);
        vi.advanceTimersToNextFrame();
      });
    return this;
  }
  get run(): Element {
    for (let n = 0; n < 50; n++) act(() => void vi.advanceTimersToNextFrame());
    return this.el.querySelector(".run")!;
  }
}

/** A run without what says how often it changed. */
function content(run: RunState): unknown {
  return JSON.parse(
    JSON.stringify(run, (name, value: unknown) =>
      name === "rev" || name === "key" || name === "id" ? undefined : value instanceof Map ? [...value] : value instanceof Set ? [...value] : value,
    ),
  );
}

function played(log: ExecutionEvent[]): RunState {
  const run = newRun("r");
  for (const event of log) reduce(run, event);
  return run;
}

/** Nodes as a reader has them: ids of object URLs and of elements are new in each view. */
const markup = (el: Element): string => el.innerHTML.replace(/blob:[^"]*/g, "blob:").replace(/ (?:id|aria-controls|aria-labelledby)="[^"]*"/g, "");

function agree({ log, batches, snapshots, html }: Recording): void {
  const live = new View().take(...batches);
  const replayed = new View({ to: log.at(-1)!.seq, events: log });
  expect(content(live.feed.run), "live and replayed").toEqual(content(played(log)));
  expect(content(replayed.feed.run)).toEqual(content(played(log)));
  expect(markup(replayed.run)).toBe(markup(live.run));
  for (const { after, message } of snapshots) {
    const late = new View().take(message, ...batches.slice(after));
    expect(content(late.feed.run), `live and a snapshot after ${after} messages`).toEqual(content(live.feed.run));
    expect(markup(late.run)).toBe(markup(live.run));
    const gap = new View().take(...batches.slice(0, 1), ...batches.slice(after), message);
    expect(content(gap.feed.run), `live and a gap before message ${after}`).toEqual(content(live.feed.run));
    expect(markup(gap.run), `live and a gap before message ${after}`).toBe(markup(live.run));
  }
  expect(ofFrozen(html), "live and frozen").toEqual(ofLive(live.run));
}

beforeEach(() => {
  vi.useFakeTimers();
  let urls = 0;
  URL.createObjectURL = () => `blob:${urls++}`;
  URL.revokeObjectURL = () => undefined;
});
afterEach(() => {
  vi.useRealTimers();
  document.body.replaceChildren();
});

describe("live = replayed = snapshot = frozen, in content", () => {
  for (const recording of OWN) it(recording.name, () => agree(recording));

  it.skipIf(RECORDED.length === 0)("../shared/provider-streams is all there", () => expect(RECORDED.length).toBeGreaterThanOrEqual(49));
  for (const recording of RECORDED) it(recording.name, () => agree(recording));
});
