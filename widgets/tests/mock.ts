import type { EventType, ExecutionEvent } from "../src/core/events";
import type { Message, Model } from "../src/core/feed";

/** A widget model without a kernel. */
export class MockModel implements Model {
  readonly sent: unknown[] = [];
  readonly handlers = new Map<string, Set<(...args: never[]) => void>>();
  constructor(readonly traits: Record<string, unknown> = { run_id: "r1", status: "running", final: null }) {}
  /** How many call-backs are registered. */
  get listening(): number {
    return [...this.handlers.values()].reduce((sum, handlers) => sum + handlers.size, 0);
  }
  get(name: string): unknown {
    return this.traits[name];
  }
  send(content: unknown): void {
    this.sent.push(content);
  }
  on(name: string, callback: (...args: never[]) => void): void {
    if (!this.handlers.has(name)) this.handlers.set(name, new Set());
    this.handlers.get(name)!.add(callback);
  }
  off(name: string, callback: (...args: never[]) => void): void {
    this.handlers.get(name)?.delete(callback);
  }
  emit(name: string, ...args: unknown[]): void {
    for (const handler of this.handlers.get(name) ?? []) (handler as (...a: unknown[]) => void)(...args);
  }
  receive(message: Message, buffers?: DataView[]): void {
    this.emit("msg:custom", message, buffers);
  }
}

type Rest = Partial<Omit<ExecutionEvent, "type" | "node_id">>;

/** Stamp a list of [type, node, rest] as the executor would, from `seq` on, a second apart. */
export function events(list: [EventType, string, Rest?][], seq = 0): ExecutionEvent[] {
  return list.map(([type, node_id, rest], i) => ({
    seq: seq + i,
    type,
    node_id,
    metadata: {},
    timestamp: 1000 + seq + i,
    run_id: "r1",
    ...rest,
  }));
}

export const batch = (list: ExecutionEvent[]): Message => ({
  kind: "events",
  from: list[0]!.seq,
  to: list.at(-1)!.seq,
  events: list,
});

export const frame = (): Promise<void> => new Promise((done) => requestAnimationFrame(() => done()));
