import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import more from "../src/more";
import type { More } from "../src/core/more";
import type { Painter } from "../src/views/markdown";

/** A page of its own: the second module is loaded once a page. */
async function page() {
  vi.resetModules();
  const [{ Painter }, later] = await Promise.all([import("../src/views/markdown"), import("../src/core/more")]);
  return { Painter, provide: (m: More = more) => later.more.provide(m), offer: later.offer };
}
type MakePainter = new (root: HTMLElement) => Painter;
const paint = (Make: MakePainter, text: string) => {
  const root = document.createElement("div");
  new Make(root).paint(text, true, [], () => true);
  return root;
};
const texts = (root: HTMLElement) => [...root.querySelectorAll("code.math")].map((c) => (c.classList.contains("display") ? "D:" : "I:") + c.textContent);

describe("formulas", () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  it("are found where they are meant, and money is not one", async () => {
    const { Painter } = await page();
    const found = (text: string) => texts(paint(Painter, text));
    expect(found("Euler: $e^{i\\pi}=-1$, and \\(a_1\\).")).toEqual(["I:e^{i\\pi}=-1", "I:a_1"]);
    expect(found("$$\n\\int_0^1 x\n- b\n= c\n$$")).toEqual(["D:\\int_0^1 x\n- b\n= c"]);
    expect(found("\\[ x \\]")).toEqual(["D:x"]);
    expect(found("It costs $5 and $10, or $ 3 $, or \\$4\\$; `$x$`")).toEqual([]);
    expect(found("**$a*b$** and $c*d$")).toEqual(["I:a*b", "I:c*d"]);
  });

  it("become MathML once the second module is here, asked for once", async () => {
    const { Painter, provide, offer } = await page();
    const source = vi.fn();
    offer(source);
    const root = paint(Painter, "So $\\frac{a}{b}$.\n\n$$x^2$$");
    expect(source).toHaveBeenCalledTimes(1);
    expect(root.querySelector("math")).toBeNull();
    provide();
    expect(root.querySelectorAll("math")).toHaveLength(2);
    expect(root.querySelector("mfrac")!.textContent).toBe("ab");
    expect(root.querySelector('math[display="block"] msup')).not.toBeNull();
    expect(paint(Painter, "$y$").querySelector("math")!.textContent).toBe("y");
    expect(source).toHaveBeenCalledTimes(1);
  });

  it("that are no TeX stay as they are", async () => {
    const { Painter, provide } = await page();
    provide();
    const root = paint(Painter, "$\\frac{$ and $\\nosuchcommand{x}$");
    expect(root.querySelector("math")).toBeNull();
    expect(texts(root)).toContain("I:\\nosuchcommand{x}");
  });

  it("can do no harm", async () => {
    const { Painter, provide } = await page();
    provide();
    const hostile = [
      "\\href{javascript:alert(1)}{x}",
      "\\url{https://leak.example}",
      "\\includegraphics{https://leak.example/x.png}",
      "\\style{background:url(https://leak.example)}{x}",
      "\\text{<img src=x onerror=alert(1)>}",
      "\\class{jp-Cell}{x}\\id{main}{y}\\data{x=1}{z}",
      "</math><script>alert(1)</script>",
    ];
    for (const tex of hostile) {
      const root = paint(Painter, `$${tex}$`);
      expect(root.querySelector("script, img, a, iframe, [href], [style], [id], [src]")).toBeNull();
    }
    const bomb = `$${"\\def\\a{\\b\\b}\\def\\b{\\c\\c}".repeat(1)}${"\\a".repeat(2000)}$`;
    expect(() => paint(Painter, bomb)).not.toThrow();
    const evil: More = { math: () => '<math><mtext><img src=x onerror=alert(1)></mtext><annotation-xml encoding="text/html"><script>alert(1)</script></annotation-xml></math>', highlighted: () => null };
    const other = await page();
    other.provide(evil);
    const root = paint(other.Painter, "$x$");
    expect(root.querySelector("script, img, annotation-xml")).toBeNull();
  });
});

describe("rarer languages", () => {
  it("get their colours when the second module comes", async () => {
    const { Painter, provide } = await page();
    const root = paint(Painter, "```madeup\nfn main() {}\n```\n\n```nolanguage\nx\n```\n\n```text\ny\n```");
    const asked: string[] = [];
    const highlighted = (code: string, language: string) => {
      asked.push(language);
      return language === "madeup" ? code.replace("fn", '<span class="hljs-keyword">fn</span><img src=x onerror=alert(1)>') : null;
    };
    provide({ ...more, highlighted });
    expect(asked).toEqual(["madeup", "nolanguage"]);
    expect(root.querySelector(".hljs-keyword")!.textContent).toBe("fn");
    expect(root.querySelector("[onerror]")).toBeNull();
    expect(root.textContent).toContain("nolanguage");
    expect(more.highlighted("fn main() {}", "rust")).toContain("hljs-keyword");
  });
});
