// What comes with the second module, when a text first needs it: formulas and rarer languages.
export interface More {
  /** TeX as MathML. Throws for what is no TeX. */
  math(tex: string, display: boolean): string;
  /** Code with colours, as escaped HTML; null when the language is not known. */
  highlighted(code: string, language: string): string | null;
}

const PATIENCE = 3000;
/** Places that wait; beyond this many the page has other problems. */
const MANY = 5000;

let loaded: More | null = null;
let asked = -Infinity;
const waiting: ((more: More) => void)[] = [];
const sources = new Set<() => void>();

/** Call back with the module: at once when it is here, else when somebody brought it. */
export function withMore(act: (more: More) => void): void {
  if (loaded) return act(loaded);
  if (waiting.length < MANY) waiting.push(act);
  ask();
}

/** Name somebody who can be asked for the module; returns what takes that back. */
export function offer(source: () => void): () => void {
  sources.add(source);
  if (waiting.length) ask();
  return () => sources.delete(source);
}

/** Take the module in. */
export function provide(more: More): void {
  loaded = more;
  sources.clear();
  for (const act of waiting.splice(0)) act(more);
}

// The kernel of the one that was asked first may be busy: somebody else is asked a little later.
function ask(): void {
  const source = [...sources].at(-1);
  if (!source || Date.now() - asked < PATIENCE) return;
  asked = Date.now();
  source();
}
