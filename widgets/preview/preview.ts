// Plays hand-written runs through the real stub and hub, without a kernel.
// ?scene=research|graph|failed|hostile|long&theme=light|dark|none&at=0.4&speed=1
import stub from "../src/stub";
import type { ExecutionEvent } from "../src/core/events";
import type { Message, Model } from "../src/core/feed";
import { SCENES } from "./scenes";

class MockModel implements Model {
  readonly sent: unknown[] = [];
  private readonly handlers = new Map<string, Set<(...args: never[]) => void>>();
  constructor(private readonly traits: Record<string, unknown>) {}
  get(name: string) {
    return this.traits[name];
  }
  send(content: unknown) {
    this.sent.push(content);
  }
  on(name: string, callback: (...args: never[]) => void) {
    if (!this.handlers.has(name)) this.handlers.set(name, new Set());
    this.handlers.get(name)!.add(callback);
  }
  off(name: string, callback: (...args: never[]) => void) {
    this.handlers.get(name)?.delete(callback);
  }
  receive(message: Message) {
    for (const handler of this.handlers.get("msg:custom") ?? []) (handler as (m: Message) => void)(message);
  }
}

const query = new URLSearchParams(location.search);
const theme = query.get("theme") ?? "light";
document.body.className = theme;

// Long tasks, for a look at speed: window.measure.
const measure = { longest: 0, sum: 0, lag: 0 };
Object.assign(window, { measure });
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) {
    measure.longest = Math.max(measure.longest, duration);
    measure.sum += duration;
  }
}).observe({ type: "longtask", buffered: true });

async function play(events: ExecutionEvent[], rate: number, at: number): Promise<void> {
  const model = new MockModel({ run_id: events[0]!.run_id, status: "running", final: null });
  const widget = stub();
  widget.initialize({ model });
  const el = document.querySelector("main")!.appendChild(document.createElement("div"));
  widget.render({ model, el });
  await new Promise((done) => setTimeout(done, 300));
  Object.assign(measure, { longest: 0, sum: 0 });
  const end = Math.floor(events.length * at);
  let seq = 0;
  while (seq < end) {
    const batch = events.slice(seq, Math.min(seq + rate, end));
    model.receive({ kind: "events", from: seq, to: seq + batch.length - 1, events: batch });
    seq += batch.length;
    if (Number.isFinite(rate)) await new Promise((done) => setTimeout(done, 33));
  }
  const last = performance.now();
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  measure.lag = performance.now() - last;
  document.body.dataset["played"] = "1";
}

async function main() {
  await import("../src/hub");
  const { drawings } = await import("../src/core/more");
  drawings.provide(await import("../src/drawings"));
  const names = (query.get("scene") ?? "research").split(",");
  const speed = Number(query.get("speed") ?? 0);
  await Promise.all(names.map((name) => play(SCENES[name]!(), speed || Infinity, Number(query.get("at") ?? 1))));
}

void main();
