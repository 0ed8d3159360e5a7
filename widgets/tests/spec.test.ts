// Every example of the CommonMark specification, and GitHub's extensions, cut at every character.
import { tests } from "commonmark-spec";
import { describe, expect, it } from "vitest";
import { Blocks, type Block } from "../src/core/blocks";
import { html, sanitize } from "../src/core/markdown";
import { Painter } from "../src/views/markdown";
import { GITHUB } from "./gfm";

/** A link that is defined in a later block, inside a quote: the one thing that a stream cannot know. */
const LATE = new Set([218]);

const shape = (blocks: readonly Block[]) => blocks.map(({ kind, raw, start, prefix }) => `${kind} ${start} ${prefix}${raw}`);
const tight = (markup: string) => markup.replace(/\n+(?=<|$)/g, "");

/** Feed a text character by character: what is frozen stands, and nothing is lost between head and tail. */
function check(text: string): void {
  const blocks = new Blocks();
  let before: string[] = [];
  for (let end = 1; end <= text.length; end++) {
    blocks.update(text.slice(0, end), false);
    blocks.advance();
    const now = shape(blocks.frozen);
    expect(now.slice(0, before.length)).toEqual(before);
    before = now;
    const rest = blocks.tail;
    const kept = blocks.frozen.reduce((n, b) => n + b.raw.replace(/\s/g, "").length, 0) + (rest?.raw.replace(/\s/g, "").length ?? 0);
    expect(kept).toBe(text.slice(0, end).replace(/\s/g, "").length);
  }
  blocks.update(text, true);
  blocks.advance();
  expect(blocks.tail).toBeNull();
  expect(shape(blocks.frozen).slice(0, before.length)).toEqual(before);
  const parts = blocks.frozen.map((block) => html(block, blocks.links, false)).join("");
  const whole = html({ kind: "markdown", raw: text.replace(/\r/g, " "), start: 0, prefix: "" }, {}, false);
  expect(tight(parts)).toBe(tight(whole));
}

/** Draw a text character by character: nodes of a finished block are never touched again. */
function draw(text: string): void {
  const root = document.createElement("div");
  const painter = new Painter(root);
  const touched: MutationRecord[] = [];
  const seen: MutationObserver[] = [];
  let stood = 0;
  for (let end = 1; end <= text.length; end++) {
    painter.paint(text.slice(0, end), false, [], () => true);
    for (const observer of seen) touched.push(...observer.takeRecords());
    expect(touched, text.slice(0, end)).toEqual([]);
    const blocks = root.querySelectorAll(".chunk > .block");
    expect(blocks.length).toBeGreaterThanOrEqual(stood);
    for (; stood < blocks.length; stood++) {
      const observer = new MutationObserver(() => undefined);
      observer.observe(blocks[stood]!, { attributes: true, characterData: true, childList: true, subtree: true });
      seen.push(observer);
    }
  }
  for (const observer of seen) observer.disconnect();
}

describe("CommonMark", () => {
  for (const section of new Set(tests.map((t) => t.section))) {
    const examples = tests.filter((t) => t.section === section && !LATE.has(t.number));
    it(`${section} (${examples.length})`, () => {
      for (const { markdown, number } of examples)
        try {
          check(markdown.replaceAll("→", "\t"));
        } catch (error) {
          throw new Error(`example ${number}: ${JSON.stringify(markdown)}\n${(error as Error).message}`);
        }
    });
  }

  it("draws every block once", () => {
    // A text of one or two lines is one block, or two: none is finished while more comes.
    for (const { markdown } of tests) if (markdown.split("\n").length > 3) draw(markdown.replaceAll("→", "\t"));
  });

  it("is all there", () => expect(tests.length).toBeGreaterThan(640));
});

/** What a reader sees of HTML: tags, links, alignment, boxes and words. */
function seen(nodes: Iterable<Node>): string {
  let out = "";
  for (const node of nodes) {
    if (node.nodeType === 3) out += node.nodeValue!.replace(/\s+/g, " ");
    if (!(node instanceof HTMLElement)) continue;
    const kept = ["href", "align", "checked"].filter((name) => node.hasAttribute(name));
    const name = node.localName;
    out += `<${[name, ...kept.map((k) => `${k}=${node.getAttribute(k)}`)].join(" ")}>${seen(node.childNodes)}</${name}>`;
  }
  return out.replace(/ ?(<\/?(?:p|ul|li|table|thead|tbody|tr|th|td|blockquote|input)\b[^>]*>) ?/g, "$1").trim();
}

describe("GitHub", () => {
  for (const [section, examples] of Object.entries(GITHUB))
    it(`${section} (${examples.length})`, () => {
      for (const { text, html: theirs } of examples) {
        check(text);
        draw(text);
        if (theirs === undefined) continue;
        const blocks = new Blocks();
        blocks.update(text, true);
        blocks.advance();
        const ours = blocks.frozen.flatMap((block) => [...sanitize(html(block, blocks.links, false)).childNodes]);
        const wanted = document.createElement("div");
        wanted.innerHTML = theirs;
        expect(seen(ours), text).toBe(seen(wanted.childNodes));
      }
    });

  it("is all there", () => expect(Object.values(GITHUB).flat().length).toBeGreaterThanOrEqual(28));
});
