import { describe, expect, it } from "vitest";
import { Blocks } from "../src/core/blocks";
import { html, safeImage, safeLink, sanitize } from "../src/core/markdown";
import { safeName } from "../src/views/files";
import { imageOf, records } from "../src/views/value";

function shown(text: string): HTMLElement {
  const blocks = new Blocks();
  blocks.update(text, true);
  blocks.advance();
  const el = document.createElement("div");
  for (const block of blocks.frozen) el.append(sanitize(html(block, blocks.links, false)));
  return el;
}

const HOSTILE = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  "text <img src=x onerror=alert(1)> text",
  "<svg onload=alert(1)><script>alert(1)</script></svg>",
  "<iframe src=javascript:alert(1)></iframe>",
  "<a href='javascript:alert(1)'>x</a>",
  "[x](javascript:alert(1))",
  "[x](JaVaScRiPt:alert(1))",
  "[x](java\tscript:alert(1))",
  "[x](&#106;avascript:alert(1))",
  "[x](data:text/html;base64,PHNjcmlwdD4=)",
  "[x](vbscript:x) <javascript:alert(1)>",
  "[x]: javascript:alert(1)\n\n[x]",
  "![x](javascript:alert(1))",
  "![x](data:image/svg+xml;base64,PHN2Zy8+)",
  "![x](data:text/html,<script>alert(1)</script>)",
  '![x" onerror="alert(1)](https://e.test/a.png)',
  '[x](https://e.test "t\\" onclick=alert(1) x=\\"")',
  "```html onload=alert(1)\n<script>alert(1)</script>\n```",
  '```"><img/src=x/onerror=alert(1)>\nx\n```',
  "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
  "<details open ontoggle=alert(1)>x</details>",
  "<form action=https://e.test><button>go</button></form>",
  "<style>*{background:url(https://e.test)}</style>",
  "`<img src=x onerror=alert(1)>`",
  "| <img src=x onerror=alert(1)> |\n|---|\n| <b>x</b> |",
];

describe("hostile text", () => {
  for (const text of HOSTILE)
    it(`is inert: ${JSON.stringify(text).slice(0, 60)}`, () => {
      const el = shown(text);
      expect(el.querySelector("script, svg, iframe, form, style, object, embed, math, details")).toBeNull();
      for (const node of el.querySelectorAll("*")) {
        for (const { name, value } of node.attributes) {
          expect(name).not.toMatch(/^on|^style$|^id$|^srcset$/);
          if (name === "href") expect(value).toMatch(/^(https?|mailto):/);
          if (name === "src") expect(value).toMatch(/^data:image\/(png|jpeg|gif|webp)/);
        }
      }
      for (const link of el.querySelectorAll("a")) expect(link.rel).toBe("noopener noreferrer");
    });

  it("shows raw HTML as text", () => {
    expect(shown("a <b>bold</b> <script>alert(1)</script>").textContent).toContain("<b>bold</b> <script>alert(1)</script>");
    expect(shown("<div onclick=x>hi</div>").textContent).toContain("<div onclick=x>hi</div>");
  });

  it("puts a remote image behind a button and shows an inline raster image", () => {
    const remote = shown("![chart](https://e.test/c.png?secret=1)");
    expect(remote.querySelector("img")).toBeNull();
    expect(remote.querySelector<HTMLButtonElement>("button.image")!.value).toBe("https://e.test/c.png?secret=1");
    expect(shown("![dot](data:image/png;base64,AAAA)").querySelector("img")!.alt).toBe("dot");
  });

  it("keeps what is harmless: links, tables with alignment, task lists, list numbers", () => {
    const el = shown("[m](mailto:a@b.c) [h](https://e.test)\n\n| a |\n|--:|\n| 1 |\n\n- [x] done\n- [ ] open\n\n3. three\n");
    expect([...el.querySelectorAll("a")].map((a) => a.getAttribute("href"))).toEqual(["mailto:a@b.c", "https://e.test"]);
    expect(el.querySelector("td")!.getAttribute("align")).toBe("right");
    expect([...el.querySelectorAll<HTMLInputElement>("li.task input")].map((i) => [i.checked, i.disabled])).toEqual([[true, true], [false, true]]);
    expect(el.querySelector("ol")!.start).toBe(3);
  });

  it("does not choke on nesting, odd separators or a very long line", () => {
    expect(shown(`${">".repeat(20_000)} deep`).textContent).toContain("deep");
    expect(shown("a\u2028b\u2029c").textContent).toContain("a\u2028b\u2029c");
    expect(shown("x".repeat(300_000)).textContent!.trim()).toHaveLength(300_000);
    expect(shown(`${"[".repeat(9000)}x`).textContent).toContain("x");
  });
});

describe("what may be linked, shown and saved", () => {
  it("links only http, https and mailto", () => {
    for (const url of ["https://a.b", "HTTP://a.b", "mailto:x@y.z"]) expect(safeLink(url)).toBe(url);
    for (const url of ["javascript:1", "data:text/html,1", "//a.b", "/x", "file:///etc", "https:", " "]) expect(safeLink(url)).toBeNull();
  });
  it("shows only raster data images", () => {
    expect(safeImage("data:image/png;base64,AAAA")).toBe(true);
    for (const src of ["data:image/svg+xml;base64,AA", "https://a.b/c.png", "data:image/png,<svg>"]) expect(safeImage(src)).toBe(false);
  });
  it("saves under a plain name", () => {
    expect(safeName("../../etc/passwd")).toBe("passwd");
    expect(safeName("..\\a\u202egnp.exe")).toBe("agnp.exe");
    expect(safeName("...")).toBe("file");
  });
  it("sees tables and images in results", () => {
    expect(records([{ a: 1 }, { a: 2, b: "x" }])).toHaveLength(2);
    expect(records([{ a: {} }, { a: 2 }])).toBeNull();
    expect(imageOf({ mime_type: "image/png", data: "AA" })).toBe("data:image/png;base64,AA");
  });
});
