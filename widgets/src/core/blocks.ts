// Streaming Markdown: text to blocks. A finished block is frozen and never looked at again; only the open
// tail is. Whatever the chunks, the same text gives the same blocks, and a step costs at most one window.
import { Lexer, Marked, type Token, type Tokens } from "marked";
import { math } from "./math";

const DEFINITION =
  /^ {0,3}\[(?!\s*\])((?:\\.|[^[\]\\\n])+)\]: *(<[^<>\n]*>|[^<\s]\S*)(?: +("[^"\n]*"|'[^'\n]*'|\([^()\n]*\)))? *(?:\n|$)/;

/** GitHub's Markdown, but a link definition is one line: else text to come could change what stands. */
export const grammar = new Marked(math, {
  gfm: true,
  tokenizer: {
    def(src) {
      const found = DEFINITION.exec(src);
      if (!found) return undefined;
      const [raw, label = "", target = "", title] = found;
      return {
        type: "def",
        raw,
        tag: label.toLowerCase().replace(/\s+/g, " ").trim(),
        href: target.replace(/^<(.*)>$/, "$1"),
        title: title?.slice(1, -1) ?? "",
      };
    },
  },
});

/** One top-level block of a text; `raw` of all blocks, with the blank lines between, is the text. */
export interface Block {
  kind: "markdown" | "fence" | "plain";
  raw: string;
  /** Where it begins in the text. */
  start: number;
  /** Header lines that a table cut in two repeats. */
  prefix: string;
}

/** Longest piece of text that is parsed at once; a longer block is cut. */
export const WINDOW = 8192;

/** Definitions of reference links, by name, as marked keeps them. */
export type Links = Lexer["tokens"]["links"];

interface Fence {
  closing: RegExp;
  scanned: number;
}

const FENCE = /^(?: {0,3})(`{3,}(?=[^`\n]*\n)|~{3,})[^\n]*\n/;
/** The beginning of a line that opens more lists and quotes than anybody reads, and a parser has stack for. */
const DEEP = /^(?:[ \t]*(?:>|[-+*](?=[ \t])|\d{1,9}[.)](?=[ \t]))){50}/m;

/** Whether a text is nested too deeply to be parsed. */
export const deep = (text: string): boolean => DEEP.test(text);

const BLANK = /^(?:[ \t]*\n)+/;

export class Blocks {
  readonly frozen: Block[] = [];
  readonly links: Links = Object.create(null);
  /** What is not frozen yet, from `base` on; `at` is where in it the next block begins. */
  private text = "";
  private base = 0;
  private at = 0;
  private prefix = "";
  private tried = 0;
  private fence: Fence | null = null;
  private finished = false;

  /** Take the whole text as it is now; what was taken before must be its beginning. */
  update(text: string, finished: boolean): void {
    // Same length, so that offsets of citations stay true.
    this.text += text.slice(this.base + this.text.length).replace(/\r/g, " ");
    this.finished = finished;
  }

  /** The open end of the text, not yet frozen. */
  get tail(): Block | null {
    const raw = this.text.slice(this.at);
    if (!raw) return null;
    return { kind: this.fence ? "fence" : "markdown", raw, start: this.base + this.at, prefix: this.prefix };
  }

  /** Freeze what is finished; false when `more` said to stop before the end. */
  advance(more: () => boolean = () => true): boolean {
    let going = true;
    while (going && this.at < this.text.length && this.step()) going = more();
    if (this.fence) this.fence.scanned -= this.at;
    this.text = this.text.slice(this.at);
    this.base += this.at;
    this.at = 0;
    return going;
  }

  private step(): boolean {
    if (this.fence) return this.closeFence(this.fence);
    const blank = BLANK.exec(this.text.slice(this.at, this.at + WINDOW));
    if (blank) {
      this.at += blank[0].length;
      this.prefix = "";
      return true;
    }
    const window = this.text.slice(this.at, this.at + WINDOW);
    const full = this.at + WINDOW < this.text.length;
    const lines = this.finished && !full ? window : window.slice(0, window.lastIndexOf("\n") + 1);
    const pit = this.prefix ? -1 : window.search(DEEP);
    if (pit === 0) return this.cutLine(window, full);
    // What stands before such a line ends there, whatever follows.
    const whole = pit > 0 ? window.slice(0, pit) : lines;
    const opened = this.prefix ? null : FENCE.exec(whole);
    if (opened) {
      const mark = opened[1]!;
      const closing = new RegExp(`^ {0,3}${mark[0]!}{${mark.length},}[ \\t]*$`);
      this.fence = { closing, scanned: this.at + opened[0].length };
      return true;
    }
    if (whole.length === this.tried && !full && !this.finished) return false;
    this.tried = whole.length;
    const tokens = whole ? blockTokens(this.prefix + whole, this.links) : null;
    if (tokens && this.freezeFinished(tokens, pit > 0 || (this.finished && !full))) return true;
    if (full) return this.cut(window, tokens?.find(written));
    if (!this.finished) return false;
    this.freeze("markdown", window.length);
    return true;
  }

  /** Freeze every block that another one follows, or all of them at the end. */
  private freezeFinished(tokens: Token[], all: boolean): boolean {
    const fence = tokens.findIndex((t, i) => i > 0 && t.type === "code" && FENCE.test(t.raw));
    const end = all ? tokens.length : tokens.findLastIndex(written);
    // A fence is read by closeFence, so that it is cut the same whether or not its end is here yet.
    const last = fence > 0 ? Math.min(fence, end) : end;
    for (const token of tokens.slice(0, Math.max(last, 0))) {
      const length = token.raw.length - this.prefix.length;
      if (written(token)) this.freeze("markdown", length);
      else this.at += length;
      if (token.type === "def") this.define(token as Tokens.Def);
    }
    return last > 0;
  }

  private define({ tag, href, title }: Tokens.Def): void {
    this.links[tag] ??= { href, title };
  }

  /** End a block that is longer than a window: a list between items, a table between rows, else as text. */
  private cut(window: string, token: Token | undefined): boolean {
    if (token?.type === "list" && token.items.length > 1) {
      const last = token.items.at(-1) as { raw: string };
      const length = token.raw.length - last.raw.length;
      if (length > 0) {
        this.freeze("markdown", length);
        return true;
      }
    }
    if (token?.type === "table" && token.rows.length > 1) {
      const header = this.prefix || /^[^\n]*\n[^\n]*\n/.exec(token.raw)?.[0] || "";
      const length = window.lastIndexOf("\n") + 1;
      if (header && header.length < WINDOW / 4 && length > 0) {
        this.freeze("markdown", length);
        this.prefix = header;
        return true;
      }
    }
    const space = Math.max(window.lastIndexOf(" "), window.lastIndexOf("\n"));
    const whole = space > WINDOW / 2 ? space + 1 : window.length;
    // A surrogate pair stays whole.
    const split = (window.charCodeAt(whole - 1) & 0xfc00) === 0xd800 ? whole - 1 : whole;
    this.freeze("plain", split);
    return true;
  }

  /** Take one line as text. */
  private cutLine(window: string, full: boolean): boolean {
    const end = window.indexOf("\n") + 1;
    if (!end && !full && !this.finished) return false;
    if (end) this.freeze("plain", end);
    else this.cut(window, undefined);
    return true;
  }

  private closeFence(fence: Fence): boolean {
    for (;;) {
      const end = this.text.indexOf("\n", fence.scanned);
      if (end < 0 && !this.finished) return false;
      const stop = end < 0 ? this.text.length : end;
      const closed = fence.closing.test(this.text.slice(fence.scanned, Math.min(stop, fence.scanned + WINDOW)));
      fence.scanned = end < 0 ? stop : end + 1;
      if (!closed && fence.scanned < this.text.length) continue;
      if (!closed && !this.finished) return false;
      this.freeze("fence", fence.scanned - this.at);
      this.fence = null;
      return true;
    }
  }

  private freeze(kind: Block["kind"], length: number): void {
    const raw = this.text.slice(this.at, this.at + length);
    this.frozen.push({ kind, raw, start: this.base + this.at, prefix: this.prefix });
    this.at += length;
    this.prefix = "";
    this.tried = 0;
  }
}

/** Whether a token is more than blank; marked has blank tokens that are not of type "space". */
const written = (token: Token): boolean => token.raw.trim() !== "";

/** Block tokens of a text, or null when it defeats the lexer (nesting, or raw that does not add up). */
function blockTokens(text: string, links: Links): Token[] | null {
  const lexer = new Lexer(grammar.defaults);
  lexer.tokens.links = Object.assign(Object.create(null), links);
  try {
    lexer.blockTokens(text, lexer.tokens);
  } catch {
    return null;
  }
  const length = lexer.tokens.reduce((sum, token) => sum + token.raw.length, 0);
  return length === text.length ? [...lexer.tokens] : null;
}
