// Colours for code, once, when its block is finished.
import hljs from "highlight.js/lib/core";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";

const LANGUAGES = { json, python };
for (const [name, language] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, language);
hljs.registerAliases(["ipython", "py", "pycon"], { languageName: "python" });
hljs.registerAliases(["jsonl", "json5"], { languageName: "json" });

/** Characters and line length above which code stays plain: colours are not worth a frozen page. */
const LONG = 20_000;
const WIDE = 2_000;

const short = (code: string) => code.length <= LONG && code.split("\n").every((line) => line.length <= WIDE);

/** The name of a language that the second module may know; null for code that is coloured already, or stays plain. */
export const rarer = (code: string, language: string): string | null => {
  const name = language.toLowerCase();
  return /^[a-z][\w+#-]{0,20}$/.test(name) && !/^(?:text|txt|plain|plaintext|math)$/.test(name) && !hljs.getLanguage(name) && short(code) ? name : null;
};

/** Code as HTML with classes, escaped; null when the language is not known here or the code too long. */
export function highlighted(code: string, language: string): string | null {
  const name = language.toLowerCase();
  if (!hljs.getLanguage(name) || !short(code)) return null;
  return hljs.highlight(code, { language: name, ignoreIllegals: true }).value;
}
