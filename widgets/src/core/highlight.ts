// Colours for code, once, when its block is finished.
import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import r from "highlight.js/lib/languages/r";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";

const LANGUAGES = { bash, javascript, json, python, r, sql, typescript, xml };
for (const [name, language] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, language);
hljs.registerAliases(["ipython", "py", "pycon"], { languageName: "python" });
hljs.registerAliases(["shell", "console", "sh", "zsh"], { languageName: "bash" });
hljs.registerAliases(["jsonl", "json5"], { languageName: "json" });

/** Characters and line length above which code stays plain: colours are not worth a frozen page. */
const LONG = 20_000;
const WIDE = 2_000;

/** Code as HTML with classes, escaped; null when the language is not known or the code too long. */
export function highlighted(code: string, language: string): string | null {
  const name = language.toLowerCase();
  if (!hljs.getLanguage(name) || code.length > LONG) return null;
  if (code.split("\n").some((line) => line.length > WIDE)) return null;
  return hljs.highlight(code, { language: name, ignoreIllegals: true }).value;
}
