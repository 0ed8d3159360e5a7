// Formulas in Markdown: $x$, $$x$$, \(x\) and \[x\]. A dollar before a space or after one is money.
import type { MarkedExtension, Tokens } from "marked";
import { MARK } from "./cite";

interface Formula extends Tokens.Generic {
  type: "formula";
  text: string;
  display: boolean;
}

const INLINE: [RegExp, boolean][] = [
  [/^\$\$((?:\\[\s\S]|[^$\\])+?)\$\$/, true],
  [/^\$(?![\s$])((?:\\.|[^$\\\n`])*?(?:\\.|[^$\\\s`]))\$(?![\w$])/, false],
  [/^\\\(([^\n]+?)\\\)/, false],
  [/^\\\[([\s\S]+?)\\\]/, true],
];
/** A paragraph that begins with $$ or \[ is one block up to the blank line, closed or not: no line in it begins a list. */
const BLOCK = /^ {0,3}(\$\$|\\\[)(?:(?!\n[ \t]*(?:\n|$))[\s\S])*(?:\n|$)/;

const escape = (text: string) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]!);
const rendered = ({ text, display }: Formula) => `<code class="math${display ? " display" : ""}">${escape(text)}</code>`;

function inline(src: string): Formula | undefined {
  for (const [rule, display] of INLINE) {
    const found = rule.exec(src);
    const text = found?.[1]!.replace(MARK, "").trim();
    if (text) return { type: "formula", raw: found![0], text, display };
  }
  return undefined;
}

export const math: MarkedExtension = {
  extensions: [
    {
      name: "formulas",
      level: "block",
      tokenizer(src) {
        const raw = BLOCK.exec(src)?.[0];
        if (raw === undefined) return undefined;
        return { type: "formulas", raw, tokens: this.lexer.inline(raw.trim()) };
      },
      renderer(token) {
        return `<p>${this.parser.parseInline(token.tokens ?? [])}</p>\n`;
      },
    },
    {
      name: "formula",
      level: "inline",
      start(src) {
        const at = src.search(/\$|\\[([]/);
        return at < 0 ? undefined : at;
      },
      tokenizer: inline,
      renderer: (token) => rendered(token as Formula),
    },
  ],
};
