// Draws streaming Markdown: frozen blocks are appended once, only the open tail is drawn again.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Blocks, type Block } from "../core/blocks";
import { MARK, type Mark } from "../core/cite";
import { host } from "../core/format";
import { rarer } from "../core/highlight";
import { fenceParts, html, sanitize, sanitizeMath } from "../core/markdown";
import { more } from "../core/more";
import { copyText } from "./parts";

/** Milliseconds a frame may spend on new blocks; the rest waits for the next frame. */
const BUDGET = 12;
/** Finished blocks that are laid out, or skipped, together. */
const CHUNK = 32;
/** Text nodes of streaming code are cut here, so that a long block is not laid out anew as a whole. */
const CODE_CHUNK = 4096;

interface Props {
  text: string;
  done: boolean;
  marks?: readonly Mark[];
  /** Changes when something else than the text did. */
  rev: number;
}

export function Markdown({ text, done, marks = [], rev }: Props) {
  const root = useRef<HTMLDivElement>(null);
  const painter = useRef<Painter>(null);
  const [again, setAgain] = useState(0);
  useLayoutEffect(() => {
    painter.current ??= new Painter(root.current!);
    const end = performance.now() + BUDGET;
    if (painter.current.paint(text, done, marks, () => performance.now() < end)) return;
    const frame = requestAnimationFrame(() => setAgain((n) => n + 1));
    return () => cancelAnimationFrame(frame);
  }, [text, done, rev, again]);
  useLayoutEffect(() => () => painter.current?.dispose(), []);
  return <div class="markdown" ref={root} />;
}

/** Keeps a container in step with a growing text. */
export class Painter {
  private readonly blocks = new Blocks();
  private readonly drawn: { el: HTMLElement; marks: string; links: number; waits: Waits }[] = [];
  private readonly tailWaits: Waits = [];
  private chunk: HTMLElement | null = null;
  private tail: HTMLElement | null = null;
  private tailKey = "";
  private settled = "";

  constructor(private readonly root: HTMLElement) {
    root.addEventListener("click", onClick);
  }

  /** Bring the container up to date; false when time ran out. */
  paint(text: string, done: boolean, all: readonly Mark[], more: () => boolean): boolean {
    this.blocks.update(text, done);
    if (!this.blocks.advance(more)) return false;
    const end = text.length;
    const marks = done
      ? all.map(({ at, number }) => ({ at: at === null ? end : Math.min(at, end), number }))
      : all.filter(({ at }) => at !== null);
    const before = this.drawn.length;
    if (!this.append(marks, more)) return false;
    // Citations and link definitions that came late change blocks that were finished.
    const settled = `${marks.length} ${done ? Object.keys(this.blocks.links).length : ""}`;
    if (settled !== this.settled && !this.refresh(before, marks, more)) return false;
    this.settled = settled;
    this.drawTail(marks);
    return true;
  }

  private here(i: number, marks: readonly Mark[]): readonly Mark[] {
    if (!marks.length) return marks;
    const { frozen, tail } = this.blocks;
    const start = frozen[i]?.start ?? tail?.start ?? 0;
    const next = frozen[i + 1]?.start ?? (i < frozen.length ? tail?.start : undefined) ?? Infinity;
    return marks.filter(({ at }) => at! > start && at! <= next);
  }

  private append(marks: readonly Mark[], more: () => boolean): boolean {
    for (let i = this.drawn.length; i < this.blocks.frozen.length; i++) {
      const el = document.createElement("div");
      el.dir = "auto";
      this.drawn.push({ el, marks: "", links: -1, waits: [] });
      this.drawBlock(i, this.here(i, marks));
      if (i % CHUNK === 0) this.openChunk();
      this.chunk!.append(el);
      if (this.tail && i === this.blocks.frozen.length - 1) this.clearTail();
      if (!more()) return i === this.blocks.frozen.length - 1;
    }
    return true;
  }

  /** Full chunks are skipped by the browser while they are out of sight. */
  private openChunk(): void {
    this.chunk?.classList.add("full");
    this.chunk = document.createElement("div");
    this.chunk.className = "chunk";
    this.root.insertBefore(this.chunk, this.tail);
  }

  private refresh(count: number, marks: readonly Mark[], more: () => boolean): boolean {
    const links = Object.keys(this.blocks.links).length;
    for (let i = 0; i < count; i++) {
      const { marks: had, links: knew } = this.drawn[i]!;
      const mine = this.here(i, marks);
      const relink = knew < links && this.blocks.frozen[i]!.raw.includes("[");
      if (keyOf(mine) === had && !relink) continue;
      this.drawBlock(i, mine);
      if (!more()) return false;
    }
    return true;
  }

  private drawBlock(i: number, marks: readonly Mark[]): void {
    const block = this.blocks.frozen[i]!;
    const drawn = this.drawn[i]!;
    drawn.marks = keyOf(marks);
    drawn.links = Object.keys(this.blocks.links).length;
    const heading = /^ {0,3}#{1,3} |\n(?:=+|-+) *\n?$/.test(block.raw.slice(0, 300));
    drawn.el.className = `block${heading ? " heading" : ""}${block.prefix ? " continued" : ""}`;
    endAll(drawn.waits);
    drawn.el.replaceChildren(nodesOf(html(block, this.blocks.links, false, marks), marks, drawn.waits));
  }

  /** Nobody shows it any more. */
  dispose(): void {
    this.root.removeEventListener("click", onClick);
    endAll(this.tailWaits);
    for (const { waits } of this.drawn) endAll(waits);
  }

  private clearTail(): void {
    endAll(this.tailWaits);
    this.tail?.remove();
    this.tail = null;
    this.tailKey = "";
  }

  private drawTail(all: readonly Mark[]): void {
    const tail = this.blocks.tail;
    if (!tail) return this.clearTail();
    const marks = this.here(this.blocks.frozen.length, all);
    const key = `${tail.start} ${tail.raw.length} ${marks.length}`;
    if (key === this.tailKey) return;
    this.tailKey = key;
    if (!this.tail) {
      this.tail = this.root.appendChild(document.createElement("div"));
      this.tail.className = "block open";
      this.tail.dir = "auto";
    }
    endAll(this.tailWaits);
    if (tail.kind === "fence") drawCode(this.tail, tail);
    else this.tail.replaceChildren(nodesOf(html(tail, this.blocks.links, true, marks), marks, this.tailWaits));
  }
}

const keyOf = (marks: readonly Mark[]): string => marks.map((m) => `${m.at}:${m.number}`).join();

/** What ends the waits of some nodes for the second module. */
type Waits = (() => void)[];

const endAll = (waits: Waits): void => {
  for (const end of waits.splice(0)) end();
};

function nodesOf(markup: string, marks: readonly Mark[], waits: Waits): DocumentFragment {
  const nodes = sanitize(markup);
  if (marks.length) {
    const placed = placeChips(nodes);
    const lost = new Set(marks.map((m) => m.number).filter((n) => !placed.has(n)));
    const end = nodes.lastElementChild;
    for (const number of lost) (end && /^(?:P|H\d|LI)$/.test(end.tagName) ? end : nodes).append(chip(number));
  }
  for (const code of nodes.querySelectorAll<HTMLElement>("code.math")) dressMath(code, waits);
  for (const pre of nodes.querySelectorAll("pre")) dressCode(pre, waits);
  for (const button of nodes.querySelectorAll<HTMLButtonElement>("button.image")) dressImage(button);
  for (const table of nodes.querySelectorAll("table")) {
    const frame = document.createElement("div");
    frame.className = "scroll";
    frame.tabIndex = 0;
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", "Table");
    table.replaceWith(frame);
    frame.append(table);
  }
  return nodes;
}

/** Code that still streams: text is appended, nothing is parsed. */
function drawCode(el: HTMLElement, block: Block): void {
  const { lang, code } = fenceParts(block.raw);
  let target = el.querySelector<HTMLElement>(":scope > .code.streaming code");
  if (!target) {
    el.replaceChildren(nodesOf(html({ ...block, raw: `\`\`\`${lang}\n` }, {}, true), [], []));
    el.firstElementChild!.classList.add("streaming");
    target = el.querySelector<HTMLElement>("code")!;
    target.replaceChildren("");
  }
  // Whole chunks stand; only the last one is written again.
  for (let i = target.childNodes.length - 1; i * CODE_CHUNK <= code.length; i++) {
    const chunk = target.childNodes[i] ?? target.appendChild(document.createTextNode(""));
    chunk.textContent = code.slice(i * CODE_CHUNK, (i + 1) * CODE_CHUNK);
  }
}

export function chip(number: number): HTMLButtonElement {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "chip";
  made.value = String(number);
  made.textContent = String(number);
  made.setAttribute("aria-label", `Source ${number}`);
  return made;
}

/** Put chips where marks stand in the text; returns the numbers that were found. */
function placeChips(nodes: DocumentFragment): Set<number> {
  const placed = new Set<number>();
  const walker = document.createTreeWalker(nodes, NodeFilter.SHOW_TEXT);
  const found: Text[] = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode())
    if (node.nodeValue!.includes("\ue000")) found.push(node as Text);
  const last = new Map<Element, Element>();
  for (const node of found) {
    const inside = node.parentElement?.closest("a, code");
    const pieces = node.nodeValue!.split(MARK);
    const content: (string | HTMLElement)[] = [];
    for (const [i, piece] of pieces.entries()) {
      if (i % 2 === 0) content.push(piece);
      else {
        placed.add(Number(piece));
        if (inside) {
          const anchor = inside.closest("pre") ?? inside;
          const made = chip(Number(piece));
          (last.get(anchor) ?? anchor).after(made);
          last.set(anchor, made);
        } else content.push(chip(Number(piece)));
      }
    }
    node.replaceWith(...content);
  }
  return placed;
}

/** A formula stands as its TeX until the second module has come; what is no TeX stays so. */
function dressMath(code: HTMLElement, waits: Waits): void {
  const tex = code.textContent ?? "";
  if (tex.length > 5000) return;
  const display = code.classList.contains("display");
  const end = more.use((more) => {
    try {
      const drawn = sanitizeMath(more.math(tex, display));
      if (drawn.querySelector("math")) code.replaceWith(drawn);
    } catch {
      code.title = "This is not TeX.";
    }
  });
  waits.push(end);
}

function colourLater(pre: HTMLPreElement, language: string, waits: Waits): void {
  const code = pre.querySelector("code");
  const name = code && rarer(code.textContent ?? "", language);
  if (!name) return;
  const end = more.use((more) => {
    // A block that still streams is drawn again when it is whole.
    const coloured = pre.closest(".streaming") ? null : more.highlighted(code.textContent ?? "", name);
    if (coloured) code.replaceChildren(sanitize(coloured));
  });
  waits.push(end);
}

function dressCode(pre: HTMLPreElement, waits: Waits): void {
  const frame = document.createElement("div");
  frame.className = "code";
  const bar = frame.appendChild(document.createElement("div"));
  bar.className = "bar";
  bar.appendChild(document.createElement("span")).textContent = pre.title || "text";
  colourLater(pre, pre.title, waits);
  pre.removeAttribute("title");
  const copy = bar.appendChild(document.createElement("button"));
  copy.type = "button";
  copy.className = "quiet copy";
  copy.textContent = "Copy";
  copy.setAttribute("aria-label", "Copy code");
  pre.tabIndex = 0;
  pre.replaceWith(frame);
  frame.append(pre);
}

function dressImage(button: HTMLButtonElement): void {
  const alt = button.textContent ?? "";
  button.dataset["alt"] = alt;
  button.textContent = `Load image from ${host(button.value)}${alt ? `: ${alt}` : ""}`;
}

function onClick(event: MouseEvent): void {
  const button = (event.target as Element).closest("button");
  if (button?.classList.contains("image")) {
    const image = document.createElement("img");
    image.referrerPolicy = "no-referrer";
    image.alt = button.dataset["alt"] ?? "";
    image.src = button.value;
    button.replaceWith(image);
  } else if (button?.classList.contains("copy")) {
    const code = button.closest(".code")?.querySelector("code")?.textContent ?? "";
    void copyText(code).then((done) => {
      if (!done) return;
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  }
}
