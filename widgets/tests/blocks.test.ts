import { Marked } from "marked";
import { describe, expect, it } from "vitest";
import { Blocks, WINDOW, type Block } from "../src/core/blocks";
import { html } from "../src/core/markdown";
import { NASTY, random } from "./nasty";

/** The frozen blocks of a text that arrived in these pieces. */
function stream(pieces: string[]): Blocks {
  const blocks = new Blocks();
  let text = "";
  for (const piece of pieces) {
    text += piece;
    blocks.update(text, false);
    blocks.advance();
  }
  blocks.update(text, true);
  blocks.advance();
  return blocks;
}

function pieces(text: string, size: () => number): string[] {
  const out: string[] = [];
  for (let at = 0; at < text.length; ) {
    const next = at + size();
    out.push(text.slice(at, next));
    at = next;
  }
  return out;
}

const shape = (blocks: readonly Block[]) => blocks.map(({ kind, raw, start, prefix }) => ({ kind, raw, start, prefix }));
const rendered = (b: Blocks) => b.frozen.map((block) => html(block, b.links, false)).join("");

describe("Blocks", () => {
  for (const [name, text] of Object.entries(NASTY)) {
    it(`gives the same blocks however ${name} is cut`, () => {
      const whole = stream([text]);
      expect(whole.tail).toBeNull();
      const sizes = [1, 2, 3, 7, 40];
      for (const size of sizes) expect(shape(stream(pieces(text, () => size)).frozen), `size ${size}`).toEqual(shape(whole.frozen));
      for (let seed = 1; seed <= 20; seed++) {
        const next = random(seed);
        const cut = stream(pieces(text, () => 1 + Math.floor(next() * 12)));
        expect(shape(cut.frozen), `seed ${seed}`).toEqual(shape(whole.frozen));
        expect(rendered(cut)).toBe(rendered(whole));
      }
    });

    it(`loses nothing of ${name}`, () => {
      const whole = stream([text]);
      let at = 0;
      for (const block of whole.frozen) {
        expect(text.slice(at, block.start).trim()).toBe("");
        expect(block.raw).toBe(text.slice(block.start, block.start + block.raw.length).replace(/\r/g, " "));
        at = block.start + block.raw.length;
      }
      expect(text.slice(at).trim()).toBe("");
    });
  }

  it("gives the same blocks for random mixtures of nasty pieces", () => {
    const lines = Object.values(NASTY).filter((t) => t.length < 600).flatMap((t) => t.split(/(?<=\n)/));
    for (let seed = 1; seed <= 80; seed++) {
      const next = random(seed * 7919);
      const text = Array.from({ length: 12 }, () => lines[Math.floor(next() * lines.length)]!).join("");
      const whole = stream([text]);
      const cut = stream(pieces(text, () => 1 + Math.floor(next() * 9)));
      expect(shape(cut.frozen), JSON.stringify(text)).toEqual(shape(whole.frozen));
    }
  });

  it("says what a parse of the whole text says", () => {
    const marked = new Marked({ gfm: true });
    const strip = (markup: string) => markup.replace(/<pre[^>]*><code[^>]*>/g, "<pre><code>").replace(/\s+/g, " ").replace(/ ?<\/code>/g, "</code>").replace(/> </g, "><").trim();
    for (const name of ["paragraphs", "headings", "lists", "emptyItems", "tables", "quotes", "rules", "blanks", "emphasis"]) {
      const blocks = stream(pieces(NASTY[name]!, () => 3));
      const ours = rendered(blocks).replace(/<span class="hljs[^>]*>|<\/span>/g, "").replaceAll("&#39;", "'");
      expect(strip(ours), name).toBe(strip((marked.parse(NASTY[name]!) as string).replaceAll("&#39;", "'")));
    }
  });

  it("resolves a reference link whose definition came last", () => {
    const blocks = stream(["see [ref][r]\n\n", "more\n\n[r]: https://r.test\n"]);
    expect(rendered(blocks)).toContain('href="https://r.test"');
  });

  it("cuts a line of 300 kB into plain text and keeps every character", () => {
    const text = "x".repeat(300_000);
    const blocks = stream(pieces(text, () => 5000));
    expect(blocks.frozen.map((b) => b.raw).join("")).toBe(text);
    expect(Math.max(...blocks.frozen.map((b) => b.raw.length))).toBeLessThanOrEqual(WINDOW);
    expect(shape(blocks.frozen)).toEqual(shape(stream([text]).frozen));
  });

  it("never cuts a surrogate pair", () => {
    const text = `a${"👍".repeat(9000)}`;
    for (const block of stream([text]).frozen) expect(block.raw).not.toMatch(/^[\udc00-\udfff]|[\ud800-\udbff]$/);
  });

  it("cuts a long list between items and a long table between rows", () => {
    const list = Array.from({ length: 900 }, (_, i) => `${i + 1}. item number ${i + 1} of a list\n`).join("");
    const inList = stream(pieces(list, () => 313));
    expect(inList.frozen.length).toBeGreaterThan(2);
    expect(inList.frozen.every((b) => b.kind === "markdown")).toBe(true);
    expect(rendered(inList).match(/<li>/g)).toHaveLength(900);
    expect(rendered(inList)).toContain('<ol start="');
    const table = `| n | square |\n|---|---|\n${Array.from({ length: 900 }, (_, i) => `| ${i} | ${i * i} |\n`).join("")}`;
    const inTable = stream(pieces(table, () => 313));
    expect(inTable.frozen.length).toBeGreaterThan(1);
    expect(rendered(inTable).match(/<td>/g)).toHaveLength(1800);
    expect(shape(inTable.frozen)).toEqual(shape(stream([table]).frozen));
  });

  it("keeps a fence of 200 kB one block", () => {
    const text = `\`\`\`py\n${"print(1)\n".repeat(20_000)}\`\`\`\nend\n`;
    const blocks = stream(pieces(text, () => 4999));
    expect(blocks.frozen.map((b) => b.kind)).toEqual(["fence", "markdown"]);
  });

  it("looks at a finished block never again: steps grow with the text, not with its square", () => {
    const paragraph = "Some words of a paragraph that is long enough to be one.\n\n";
    const steps = (n: number) => {
      const blocks = new Blocks();
      let read = 0;
      const text = paragraph.repeat(n);
      const slice = String.prototype.slice;
      for (let at = 200; at < text.length; at += 200) {
        blocks.update(slice.call(text, 0, at), false);
        blocks.advance(() => (read++, true));
      }
      return read;
    };
    expect(steps(400)).toBeLessThan(steps(200) * 2.2);
  });
});

describe("html of an open tail", () => {
  const tail = (raw: string) => html({ kind: "markdown", raw, start: 0, prefix: "" }, {}, true);

  it("closes what is half open", () => {
    expect(tail("some **bold")).toContain("<strong>bold</strong>");
    expect(tail("some `cod")).toContain("<code>cod</code>");
  });

  it("leaves citation-like brackets alone", () => {
    expect(tail("as shown [1")).toContain("[1");
    expect(tail("as shown [1")).not.toContain("<a");
  });

  it("holds a fence back until its line is complete", () => {
    expect(tail("text\n\n```pyth")).not.toContain("pyth");
    expect(tail("text\n\n``")).not.toContain("`");
  });
});
