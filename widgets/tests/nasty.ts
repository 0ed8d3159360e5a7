// Markdown that has broken streaming renderers: blocks that change their kind, and things that never close.
export const NASTY: Record<string, string> = {
  paragraphs: "One.\n\nTwo with **bold**, *it*, `code` and ~~gone~~.\n\nThree\nlines\nhere.\n",
  headings: "# One\nText\n## Two\n\nSetext\n===\n\nAnother\n---\n\n###### six ######\n",
  lists: "- a\n- b\n\n- c\n\n  para in c\n    - d\n    - e\n* other\n* list\n\n1. one\n2. two\n\n   ```py\n   x = 1\n   ```\n3. three\n1) new\n",
  emptyItems: "- a\n\n-\n- b\n\ntext\n\n1.\n2. x\n",
  tasks: "- [ ] open\n- [x] done\n  - [ ] inner\n\nafter\n",
  fences: "Before\n```python\ndef f():\n    return 1\n\n# not a heading\n```\nafter\n~~~\n```\n~~~\n````md\n```\ninner\n```\n````\n",
  unclosed: "text\n\n```js\nlet a = 1;\n\nlet b = 2;\n",
  indentedFence: "  ```sql\n  select 1\n    from t\n  ```\nend\n",
  fenceInfo: "``` python title=\"x\"\ncode\n```   \nnot ``` a fence\n\n`` ` ``\n",
  indented: "para\n\n    code\n    code\n\n    more\n\nafter\n",
  tables: "| a | b |\n|---|:-:|\n| 1 | 2 |\n| 3 | `x|y` |\n\ntext\n\na | b\n- | -\n1 | 2\n\n| not | table |\nend\n",
  quotes: "> a\nlazy\n> b\n\n> second\n>> nested\n> - list\n\nend\n",
  html: "<div>\n*x*\n\nfoo\n</div>\n\n<!-- comment\n\nstill -->\n\n<script>\nalert(1)\n\n</script>\n\ntail <b>b</b>\n",
  unclosedComment: "a\n\n<!-- open\n\nb\n",
  links: "[a](http://a.test) ![i](http://b.test/x.png) <http://c.test> www.d.test [ref][r] [r]\n\n[r]: http://r.test \"T\"\n\nafter [ref][r]\n",
  hostileLinks: "[a](javascript:alert(1)) [b](data:text/html,x) [c]( vbscript:x ) <javascript:alert(1)>\n",
  rules: "a\n\n---\n\n***\n- - -\n_ _ _\nb\n",
  crlf: "a\r\n\r\n- b\r\n- c\r\n\r\n```\r\nx\r\n```\r\nend\r\n",
  unicode: "a\u2028b\u2029c\n\n\u00a0\n\n𝒳𝒴 👩‍👩‍👧 \u202edlrow\u202c\n\n\ufeffx\n",
  blanks: "\n\n\n  \n\t\na\n \n \nb\n\n\n\n",
  emphasis: "**a\n\nb** *c **d* e** ___f___ **\n\n*\n",
  defs: "[x]: /u\n\"title\ngoes on\"\n\n[y]: <http://y.test>\ntext\n",
  math: "$a_1 * b_2$ and $$\nx *y* z\n$$\n",
  footnote: "text[^1] and [1][2] then [3]\n\n[^1]: note\n",
  deepQuote: `${">".repeat(400)} deep\n`,
  pits: `para\n${"- ".repeat(70)}x\nmore\n\n> q\n${">".repeat(80)} y\n\n\`\`\`\n${"- ".repeat(60)}z\n\`\`\`\n${"1. ".repeat(60)}end\n`,
  formulas: "a $x_1$ b\n\n$$\nx\n- y\n= z\n$$\n\nmoney $5 and $6\n\n$$ open\n- item\n\n- after\n\n\\[ a\n\n\\] b\n",
  deepList: Array.from({ length: 40 }, (_, i) => `${" ".repeat(i * 2)}- x\n`).join(""),
  brackets: `${"[".repeat(2000)}a${"]".repeat(2000)}\n\n${"*".repeat(1500)}b\n`,
  backticks: Array.from({ length: 60 }, (_, i) => "`".repeat(i + 1)).join(" a ") + "\n",
};

/** A small deterministic generator, so that a failure repeats. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
