// The only file that touches the widget model: messages in, one RunState out, one call back per frame.
import type { ExecutionEvent } from "./events";
import { more, offer, type LaterName, type More } from "./more";
import { reduce } from "./reduce";
import { newRun, type RunState } from "./state";

/** What anywidget gives to initialize and render. */
export interface Model {
  get(name: string): unknown;
  send(content: unknown): void;
  on(name: string, callback: (...args: never[]) => void): void;
  off(name: string, callback: (...args: never[]) => void): void;
}

export interface Batch {
  kind: "events";
  from: number;
  to: number;
  events: ExecutionEvent[];
}

export interface Snapshot {
  kind: "snapshot";
  to: number;
  events: ExecutionEvent[];
}

/** The content of a large file, which comes as a buffer and only when asked for. */
export interface FileContent {
  kind: "file";
  seq: number;
}

/** An answer that the kernel could not take, or that a run cannot go on. */
export interface Refusal {
  kind: "refused";
  interrupt_id?: string;
  message: string;
}

/** Going on with a run where it ended, and running it anew. */
export type Verb = "resume" | "rerun";

/** What the kernel offers when a run has ended; mark is on the static output that stands for the run. */
export interface Offer {
  verbs: Verb[];
  mark?: string;
}

/** The reader's answer to a question of the run. */
export interface Answer {
  decision: "approve" | "approve_run" | "edit" | "reject";
  value?: unknown;
  message?: string;
}

/** A part of the front end, in a buffer. */
export interface Bundle {
  kind: "bundle";
  name?: "hub" | LaterName;
}

export type Message = Batch | Snapshot | FileContent | Refusal | Bundle;

async function load(name: LaterName, code: DataView): Promise<void> {
  const url = URL.createObjectURL(new Blob([code as BlobPart], { type: "text/javascript" }));
  try {
    const made = (await import(/* @vite-ignore */ url)) as { default: More };
    // The module of graphs gives itself to the hub, however it came.
    if (name === "more") more.provide(made.default);
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** The store of one run in the page; every view of the run shares it. */
export class Feed {
  run: RunState;
  /** What the reader opened or closed; outlives a view and a snapshot. */
  readonly choices = new Map<string, boolean>();
  /** Contents of large files by the seq of their event. */
  readonly files = new Map<number, DataView>();
  /** The kernel has gone; what had arrived is kept. */
  detached = false;
  stopping = false;
  /** The node whose part of the transcript alone is shown. */
  only: string | null = null;
  /** Answers that were sent, by the question's id; and what the kernel said against one. */
  readonly answers = new Map<string, "sent" | "refused">();
  readonly refusals = new Map<string, string>();
  answered = 0;
  /** What the kernel offers to do with the run, what the reader chose of it, and why that was not done. */
  offer: Offer | null = null;
  chosen: Verb | null = null;
  refused = "";
  /** How often a snapshot put a part in its place that had been missing: what was drawn of the rest is void. */
  mended = 0;
  private last = -1;
  private asked = false;
  private held: Batch[] = [];
  private listeners = new Set<() => void>();
  private frame = 0;
  private runId: string;
  private readonly ends: (() => void)[] = [];

  constructor(
    private readonly model: Model,
    early: readonly Message[] = [],
  ) {
    this.runId = String(model.get("run_id") ?? "");
    this.run = newRun(this.runId);
    this.on("msg:custom", (message: Message, buffers?: DataView[]) => this.receive(message, buffers));
    this.on("change:final", () => this.finish());
    this.on("change:offer", () => this.offered());
    this.on("change:run_id", () => this.another());
    this.on("comm_live_update", () => this.lost());
    this.ends.push(offer((name) => model.send({ kind: "bundle", name })));
    for (const message of early) this.receive(message);
    if (!this.finish()) this.ask();
    this.offered();
  }

  private on(name: string, callback: (...args: never[]) => void): void {
    this.model.on(name, callback);
    this.ends.push(() => this.model.off(name, callback));
  }

  /** The model has gone: let go of it, and of whoever listens. */
  close(): void {
    for (const end of this.ends.splice(0)) end();
    this.listeners.clear();
    cancelAnimationFrame(this.frame);
    this.frame = -1;
  }

  receive(message: Message, buffers?: DataView[]): void {
    this.detached = false;
    if (message.kind === "snapshot") this.restore(message);
    else if (message.kind === "events") this.append(message);
    else if (message.kind === "bundle" && (message.name === "more" || message.name === "graph") && buffers?.[0]) void load(message.name, buffers[0]);
    else if (message.kind === "refused" && message.interrupt_id === undefined) {
      this.chosen = null;
      this.refused = message.message;
      this.changed();
    } else if (message.kind === "refused" && message.interrupt_id !== undefined) {
      this.answers.set(message.interrupt_id, "refused");
      this.refusals.set(message.interrupt_id, message.message);
      this.redraw(message.interrupt_id);
    }
    else if (message.kind === "file" && buffers?.[0]) {
      this.files.set(message.seq, buffers[0]);
      for (const node of this.run.nodes)
        for (const part of node.parts) if (part.type === "file" && part.seq === message.seq) node.rev += ++part.rev;
      this.changed();
    }
  }

  /** Ask for the content of a large file. */
  fetch(seq: number): void {
    this.model.send({ kind: "file", seq });
  }

  /** Call back at most once a frame after the run changed; returns what ends that. */
  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Call back now and after every change, until the model has gone; then `end`. */
  follow(changed: () => void, end: () => void): void {
    this.listeners.add(changed);
    this.ends.push(end);
    changed();
  }

  stop(): void {
    this.stopping = true;
    this.model.send({ kind: "stop" });
    this.changed();
  }

  /** Go on with the run, or run it anew, once. */
  again(verb: Verb): void {
    if (this.chosen) return;
    this.chosen = verb;
    this.refused = "";
    this.model.send({ kind: verb });
    this.changed();
  }

  /** The kernel's mark was found in the page: it may take it off. */
  placed(): void {
    this.model.send({ kind: "placed" });
  }

  private offered(): void {
    const offer = this.model.get("offer") as Offer | null | undefined;
    this.offer = offer?.verbs?.length ? offer : null;
    // It goes on: what was asked of its earlier part is over.
    if (!this.offer) this.stopping = false;
    this.chosen = null;
    this.refused = "";
    this.changed();
  }

  /** The widget shows another run from now on. */
  private another(): void {
    this.runId = String(this.model.get("run_id") ?? "");
    this.run = newRun(this.runId);
    this.last = -1;
    this.held = [];
    this.asked = this.stopping = false;
    this.changed();
  }

  /** Answer a question, once. */
  answer(id: string, answer: Answer): void {
    if (this.answers.get(id) === "sent") return;
    this.answers.set(id, "sent");
    this.model.send({ kind: "answer", interrupt_id: id, ...answer });
    this.redraw(id);
  }

  /** Show one node's part of the transcript, or all with null. */
  filter(node: string | null): void {
    this.only = node;
    this.changed();
  }

  private redraw(question: string): void {
    this.answered++;
    for (const node of this.run.nodes)
      if (node.parts.some((p) => p.type === "interrupt" && p.id === question)) node.rev++;
    this.changed();
  }

  private append(batch: Batch): void {
    if (batch.to <= this.last) return;
    const gap = batch.from !== this.last + 1;
    if (gap || this.run.incomplete) this.held.push(batch);
    if (gap) {
      // Show what is here; the snapshot puts the missing part in its place.
      this.run.incomplete = true;
      this.ask();
    }
    for (const event of batch.events) if (event.seq < 0 || event.seq > this.last) reduce(this.run, event);
    this.last = batch.to;
    this.changed();
  }

  private restore(snapshot: Snapshot): void {
    this.asked = false;
    if (snapshot.to <= this.last && !this.run.incomplete) return;
    if (this.run.incomplete) this.mended++;
    this.run = newRun(this.runId);
    for (const event of snapshot.events) reduce(this.run, event);
    this.last = snapshot.to;
    const held = this.held;
    this.held = [];
    for (const batch of held) this.append(batch);
    this.changed();
  }

  private finish(): boolean {
    const final = this.model.get("final") as Partial<Snapshot> | null | undefined;
    if (!final?.events?.length) return false;
    this.held = [];
    this.restore({ kind: "snapshot", to: final.to ?? final.events.at(-1)!.seq, events: final.events });
    return true;
  }

  private ask(): void {
    if (this.asked) return;
    this.asked = true;
    this.model.send({ kind: "snapshot" });
  }

  private lost(): void {
    this.offer = null;
    this.changed();
    if (this.run.status !== "running" && this.run.status !== "pending") return;
    this.detached = true;
    this.asked = false;
    this.changed();
    this.ask();
  }

  private changed(): void {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      for (const listener of [...this.listeners]) listener();
    });
  }
}
