// Modules that come when something first needs them, so that a page that needs neither loads neither.
import type { FunctionComponent } from "preact";
import type { Feed } from "./feed";
import type { RunState } from "./state";

/** The second module: formulas and rarer languages. */
export interface More {
  /** TeX as MathML. Throws for what is no TeX. */
  math(tex: string, display: boolean): string;
  /** Code with colours, as escaped HTML; null when the language is not known. */
  highlighted(code: string, language: string): string | null;
}

/** The third module: what only a run of several nodes has, or one that ended early. */
export interface Drawings {
  Graph: FunctionComponent<{ feed: Feed; run: RunState; rev: number }>;
  Timeline: FunctionComponent<{ feed: Feed; run: RunState; live: boolean; rev: number }>;
  Again: FunctionComponent<{ feed: Feed }>;
  Bar: FunctionComponent<{ feed: Feed }>;
  place(mark: string, draw: (el: HTMLElement) => () => void, found: () => void): () => void;
}

export type LaterName = "more" | "graph";

const PATIENCE = 3000;
/** Places that wait; beyond this many the page has other problems. */
const MANY = 5000;

const sources = new Set<(name: LaterName) => void>();
const all: { ask(): void }[] = [];

/** A module that is not here yet. */
class Later<T> {
  /** The module, once it is here. */
  here: T | null = null;
  private asked = -Infinity;
  private readonly waiting = new Set<(module: T) => void>();

  constructor(private readonly name: LaterName) {
    all.push(this);
  }

  /** Call back with the module: at once when it is here, else when somebody brought it. Returns what ends the wait. */
  use(act: (module: T) => void): () => void {
    if (this.here) act(this.here);
    else {
      if (this.waiting.size < MANY) this.waiting.add(act);
      this.ask();
    }
    return () => this.waiting.delete(act);
  }

  /** Take the module in. */
  provide(module: T): void {
    this.here = module;
    const acts = [...this.waiting];
    this.waiting.clear();
    for (const act of acts) act(module);
  }

  // The kernel of the one that was asked first may be busy: somebody else is asked a little later.
  ask(): void {
    const source = [...sources].at(-1);
    if (!source || !this.waiting.size || Date.now() - this.asked < PATIENCE) return;
    this.asked = Date.now();
    source(this.name);
  }
}

export const more = new Later<More>("more");
export const drawings = new Later<Drawings>("graph");

/** Name somebody who can be asked for modules; returns what takes that back. */
export function offer(source: (name: LaterName) => void): () => void {
  sources.add(source);
  for (const later of all) later.ask();
  return () => sources.delete(source);
}
