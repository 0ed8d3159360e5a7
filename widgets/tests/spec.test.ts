// Every example of the CommonMark specification, and GitHub's extensions, cut at every character.
import { tests } from "commonmark-spec";
import { describe, expect, it } from "vitest";
import { Blocks, type Block } from "../src/core/blocks";
import { html } from "../src/core/markdown";

/** GitHub's extensions, after the sections of its specification. */
const GITHUB: Record<string, string[]> = {
  tables: [
    "| foo | bar |\n| --- | --- |\n| baz | bim |\n",
    "| abc | defghi |\n:-: | -----------:\nbar | baz\n",
    "| f\\|oo  |\n| ------ |\n| b `\\|` az |\n| b **\\|** im |\n",
    "| abc | def |\n| --- | --- |\n| bar | baz |\n> bar\n",
    "| abc | def |\n| --- | --- |\n| bar | baz |\nbar\n\nbar\n",
    "| abc | def |\n| --- |\n| bar |\n",
    "| abc | def |\n| --- | --- |\n| bar |\n| bar | baz | boo |\n",
    "| abc | def |\n| --- | --- |\n",
  ],
  tasks: ["- [ ] foo\n- [x] bar\n", "- [x] foo\n  - [ ] bar\n  - [x] baz\n- [ ] bim\n", "1. [ ] one\n2. [X] two\n"],
  strikethrough: ["~~Hi~~ Hello, ~there~ world!\n", "This ~~has a\n\nnew paragraph~~.\n", "This will ~~~not~~~ strike.\n"],
  autolinks: [
    "www.commonmark.org\n",
    "Visit www.commonmark.org/help for more information.\n",
    "www.google.com/search?q=Markup+(business)\n\n(www.google.com/search?q=Markup+(business))\n",
    "http://commonmark.org\n\n(Visit https://encrypted.google.com/search?q=Markup+(business))\n",
    "foo@bar.baz\n",
    "hello@mail+xyz.example isn't valid, but hello+xyz@mail.example is.\n",
  ],
  "raw html": ["<strong> <title> <style> <em>\n\n<blockquote>\n  <xmp> is disallowed.  <XMP> is also disallowed.\n</blockquote>\n"],
};

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

  it("is all there", () => expect(tests.length).toBeGreaterThan(640));
});

describe("GitHub", () => {
  for (const [section, examples] of Object.entries(GITHUB))
    it(section, () => {
      for (const text of examples) check(text);
    });
});
