// One block to HTML, and HTML to nodes. Everything a model says is hostile: raw HTML is shown as text, links
// are http, https or mailto, an image loads nothing before the reader says so.
import createDOMPurify, { type Config } from "dompurify";
import { Lexer } from "marked";
import remend from "remend";
import { deep, grammar, type Block, type Links } from "./blocks";
import { CLOSE, MARK, OPEN, type Mark } from "./cite";
import { highlighted } from "./highlight";

const REMEND = { links: false, images: false, htmlTags: false, katex: false, comparisonOperators: false };

export function escape(text: string): string {
  return text
    .replace(/&/g, "&amp;")
    .replace(/</g, "&lt;")
    .replace(/>/g, "&gt;")
    .replace(/"/g, "&quot;")
    .replace(/'/g, "&#39;");
}

/** The address if it is one that a link may have, without citation marks; else null. */
export function safeLink(href: string): string | null {
  const url = href.replace(MARK, "").trim().replace(/ /g, "%20");
  return /^(?:https?:\/\/|mailto:)[^\s]+$/i.test(url) ? url : null;
}

/** Inline images may be data of a raster type only: an SVG can carry script. */
export const safeImage = (src: string): boolean =>
  /^data:image\/(?:png|jpe?g|gif|webp|avif|bmp);base64,[a-z0-9+/=\s]*$/i.test(src);

const marked = grammar.use({
  renderer: {
    html({ text }) {
      return escape(text);
    },
    code({ text, lang }) {
      const name = lang?.trim().split(/\s/)[0] ?? "";
      return `<pre title="${escape(name)}"><code>${highlighted(text, name) ?? escape(text)}</code></pre>\n`;
    },
    link({ href, title, tokens, raw }) {
      const label = this.parser.parseInline(tokens);
      const url = safeLink(href);
      const marks = /^\[/.test(raw) ? (href.match(MARK) ?? []).join("") : "";
      if (!url) return raw.startsWith("[") ? `${label} <code>${escape(href.replace(MARK, ""))}</code>${marks}` : escape(raw);
      return `<a href="${escape(url)}"${title ? ` title="${escape(title)}"` : ""}>${label}</a>${marks}`;
    },
    image({ href, text }) {
      if (safeImage(href)) return `<img src="${escape(href)}" alt="${escape(text)}">`;
      const url = safeLink(href);
      if (!url || /^mailto/i.test(url)) return escape(text || href.slice(0, 200));
      return `<button type="button" class="image" value="${escape(url)}">${escape(text)}</button>`;
    },
    listitem(item) {
      const body = this.parser.parse(item.tokens);
      return `<li${item.task ? ' class="task"' : ""}>${body}</li>\n`;
    },
    checkbox({ checked }) {
      return `<input type="checkbox" disabled${checked ? " checked" : ""}> `;
    },
  },
});

/** HTML of a block: allowed elements only, but not yet sanitised. */
export function html(block: Block, links: Links, open: boolean, marks: readonly Mark[] = []): string {
  if (block.kind === "plain" || deep(block.prefix + block.raw)) return `<p class="plain">${escape(withMarks(block, marks))}</p>`;
  if (block.kind === "fence") return fence(block, open);
  const text = block.prefix + withMarks(block, marks);
  try {
    const lexer = new Lexer(marked.defaults);
    lexer.tokens.links = Object.assign(Object.create(null), links);
    return marked.parser(lexer.lex(open ? half(text) : text));
  } catch {
    // Nested deeper than the parser's stack.
    return `<p class="plain">${escape(text)}</p>`;
  }
}

/** A fenced block as info string and code. */
export function fenceParts(raw: string): { lang: string; code: string } {
  const first = raw.indexOf("\n");
  const [, indent = "", mark = "", info = ""] = /^( {0,3})(`{3,}|~{3,})([^\n]*)/.exec(raw) ?? [];
  let code = first < 0 ? "" : raw.slice(first + 1);
  const closing = new RegExp(`(?:^|\\n) {0,3}${mark[0] ?? "\`"}{${mark.length || 3},}[ \\t]*\\n?$`);
  const end = closing.exec(code.slice(-200));
  if (end) code = code.slice(0, code.length - (code.slice(-200).length - end.index));
  else if (code.endsWith("\n")) code = code.slice(0, -1);
  if (indent) code = code.replace(new RegExp(`^ {0,${indent.length}}`, "gm"), "");
  const lang = info.trim().split(/\s/)[0]!.replace(/\\([!-/:-@[-`{-~])/g, "$1");
  return { lang, code };
}

function fence(block: Block, open: boolean): string {
  const { lang, code } = fenceParts(block.raw);
  const body = (open ? null : highlighted(code, lang)) ?? escape(code);
  return `<pre title="${escape(lang)}"><code>${body}</code></pre>\n`;
}

/** Close what a text leaves half open; hold back a fence until its line is complete. */
function half(text: string): string {
  const line = text.lastIndexOf("\n") + 1;
  const last = text.slice(line);
  if (/^ {0,3}(?:`{1,}[^`\s]*|~{1,}[^~\s]*)$/.test(last)) return text.slice(0, line);
  return remend(text, REMEND);
}

function withMarks(block: Block, marks: readonly Mark[]): string {
  let text = block.raw;
  for (const { at, number } of [...marks].sort((a, b) => (b.at ?? 0) - (a.at ?? 0) || b.number - a.number)) {
    const body = text.trimEnd().length;
    const end = Math.min(Math.max((at ?? Infinity) - block.start, 0), Math.max(body, 0));
    // Not at the beginning of a line that it does not end: there it could stand before a list's marker.
    const bare = text.slice(0, end).trimEnd().length;
    const i = text.slice(bare, end).includes("\n") ? bare : end;
    text = text.slice(0, i) + OPEN + number + CLOSE + text.slice(i);
  }
  return text;
}

const TAGS =
  "a p br hr em strong del code pre blockquote ul ol li h1 h2 h3 h4 h5 h6 table thead tbody tr th td img input button span";
const PURIFY: Config = {
  ALLOWED_TAGS: TAGS.split(" "),
  ALLOWED_ATTR: ["href", "title", "src", "alt", "start", "align", "type", "checked", "disabled", "class", "value"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|data:image\/(?:png|jpe?g|gif|webp|avif|bmp);base64,)/i,
  ADD_URI_SAFE_ATTR: ["type", "align", "start"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

let purifier: ReturnType<typeof createDOMPurify> | undefined;

function purify(): ReturnType<typeof createDOMPurify> {
  if (purifier) return purifier;
  // An instance of our own: hooks must not leak into another extension's DOMPurify.
  purifier = createDOMPurify(window);
  purifier.addHook("afterSanitizeAttributes", (node) => {
    if (node.tagName === "A") {
      node.setAttribute("rel", "noopener noreferrer");
      node.setAttribute("target", "_blank");
    } else if (node.tagName === "INPUT" && node.getAttribute("type") === "checkbox")
      node.setAttribute("aria-label", node.hasAttribute("checked") ? "done" : "to do");
    else if (node.tagName === "IMG" && !safeImage(node.getAttribute("src") ?? "")) node.remove();
    else if (node.tagName === "INPUT") node.remove();
    else if (node.tagName === "BUTTON" && node.className !== "image") node.remove();
  });
  return purifier;
}

const MATH: Config = {
  USE_PROFILES: { mathMl: true },
  FORBID_ATTR: ["href", "xlink:href", "src", "style", "id"],
  FORBID_TAGS: ["maction", "semantics", "annotation", "annotation-xml", "mglyph"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

/** MathML to nodes that can do no harm: no links, no HTML inside, no styles. */
export function sanitizeMath(markup: string): DocumentFragment {
  return purify().sanitize(markup, MATH) as unknown as DocumentFragment;
}

/** HTML to nodes that can do no harm. */
export function sanitize(markup: string): DocumentFragment {
  return purify().sanitize(markup, PURIFY) as unknown as DocumentFragment;
}
