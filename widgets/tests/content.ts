// What a reader is told, from the live view's nodes and from the static output's HTML, in one form.

const flat = (text: string | null | undefined): string => (text ?? "").replace(/\s+/g, " ").trim();

/** Markup as tags, addresses and words; what the two sides draw differently becomes one. */
export function seen(nodes: Iterable<Node>, inside = ""): string {
  let out = "";
  for (const node of nodes) {
    if (node.nodeType === 3) out += inside === "pre" ? node.nodeValue : node.nodeValue!.replace(/\s+/g, " ").replace(/[☐☑] /g, (b) => (b[0] === "☐" ? "[ ] " : "[x] "));
    if (!(node instanceof Element)) continue;
    const name = node.localName;
    if (name === "style") continue;
    const text = flat(node.textContent);
    const under = () => seen(node.childNodes, inside === "pre" ? "pre" : name);
    if (name === "pre") out += `<pre>${seen(node.childNodes, "pre").trimEnd()}</pre>`;
    else if (node.matches(".bar") || (node.nextElementSibling?.localName === "pre" && name === "div")) continue;
    else if (node.matches("button.chip")) out += `[${text}]`;
    else if (node.matches("button.image")) out += `image: ${(node as HTMLElement).dataset["alt"] || (node as HTMLButtonElement).value}`;
    else if (name === "a" && /^\[\d+\]$/.test(text)) out += text;
    else if (name === "a" && text.startsWith("image: ")) out += text;
    else if (name === "a") out += `<a ${decodeURI(node.getAttribute("href") ?? "").replace(/\/$/, "")}>${under()}</a>`;
    else if (name === "input") out += (node as HTMLInputElement).checked ? "[x] " : "[ ] ";
    else if (name === "code" && inside === "pre") out += under();
    else if (node.matches("code.math")) out += node.matches(".display") ? `$$${text}$$` : `$${text}$`;
    else if (name === "s" || name === "del") out += `<del>${under()}</del>`;
    else if (/^(?:td|th)$/.test(name)) out += `<${name} ${node.getAttribute("align") ?? (node.matches(".number") ? "right" : "")}>${under()}</${name}>`;
    else if (/^(?:em|strong|code|h\d|blockquote|ul|ol|li|table|tr|hr|br)$/.test(name)) out += `<${name}>${under()}</${name}>`;
    else if (name === "p") out += inside === "li" ? under() : `¶${under()}¶`;
    else out += under();
  }
  return inside === "pre" ? out : out.replace(/ *(<\/?(?:ul|ol|li|table|tr|t[dh]|blockquote|h\d|pre|br|hr)\b[^>]*>|¶) */g, "$1").replace(/¶+/g, "¶").replace(/ {2,}/g, " ");
}

const tidy = (text: string): string => text.replace(/^[¶ ]+|[¶ ]+$/g, "").replace(/¶(?=<(?:ul|ol|table|blockquote|h\d|pre|hr))|(?<=<\/(?:ul|ol|table|blockquote|h\d|pre|hr)>)¶/g, "");

const prose = (nodes: Iterable<Node>): string => tidy(seen(nodes));

/** A value as it is shown: a table's cells, or text. */
function value(nodes: Element[]): string {
  return nodes
    .map((node) => {
      const table = node.matches("table") ? node : node.querySelector("table");
      const note = node.matches("p") ? "" : flat(node.querySelector(".note")?.textContent);
      if (table) return [...[...table.querySelectorAll("tr")].map((row) => [...row.children].map((c) => flat(c.textContent)).join("|")), note].filter(Boolean).join("\n");
      return (node.textContent ?? "").trimEnd();
    })
    .join("\n");
}

const strip = (el: Element, selector: string): Element => {
  const copy = el.cloneNode(true) as Element;
  for (const gone of copy.querySelectorAll(selector)) gone.remove();
  return copy;
};

// ---- the live view
function liveTool(el: Element): string[] {
  const summary = el.querySelector(":scope > summary")!;
  const tags = [...summary.querySelectorAll(".tag")].map((t) => flat(t.textContent)).join(" ");
  const fields = [...el.querySelectorAll(":scope > .body > .field")].map((field) => {
    const [caption, ...rest] = [...field.children];
    return `${flat(strip(caption!, "button").textContent)}: ${value(rest)}`;
  });
  return [`tool ${flat(summary.querySelector(".title")!.textContent)} ${flat(summary.querySelector(".args")?.textContent)} ${tags}`.trim(), ...fields];
}

function named(label: Element): string {
  const visit = [...label.querySelectorAll(".figure")].map((f) => flat(f.textContent)).find((t) => t.startsWith("visit"));
  const again = flat(label.querySelector(".again")?.textContent);
  return `node ${flat(label.querySelector(".name")!.textContent)}${visit ? ` ${visit}` : ""}${again ? ` · ${again}` : ""}`;
}

/** Texts that follow each other read as one. */
function joined(lines: string[]): string[] {
  const out: string[] = [];
  for (const line of lines) {
    if (line.startsWith("text ") && out.at(-1)?.startsWith("text ")) out.push(`text ${tidy(`${out.pop()!.slice(5)}¶${line.slice(5)}`)}`);
    else out.push(line);
  }
  return out;
}

function livePart(el: Element): string[] {
  if (el.matches("p.reasoning")) return ["thought", flat(el.querySelector(".figure")!.textContent)].filter(Boolean);
  if (el.matches(".label")) return [named(el)];
  if (el.matches("details.visit")) {
    const [summary, body] = [...el.children];
    const about = flat(summary!.querySelector(".words")?.textContent);
    return [`${named(summary!)}${about ? `: ${about}` : ""}`, ...[...body!.children].flatMap(livePart)];
  }
  if (el.matches("details.earlier")) {
    const [summary, body] = [...el.children];
    return [`nodes ${flat(summary!.querySelector(".title")!.textContent)} ${flat(summary!.querySelector(".words")!.textContent)}`, ...[...body!.children].flatMap(livePart), "."];
  }
  if (el.matches("section.node")) return [...el.children].flatMap(livePart);
  if (el.matches(".answer")) return [...(el.matches(".refusal") ? ["The model declined to answer."] : []), `text ${prose(el.querySelector(".markdown")!.childNodes)}`];
  if (el.matches("details.reasoning")) {
    const summary = el.querySelector(":scope > summary")!;
    const kind = flat(summary.querySelector(".tag")?.textContent);
    return [`thought ${flat(summary.querySelector(".figure")?.textContent)} ${kind}`.trim(), prose(el.querySelector(".markdown")!.childNodes)];
  }
  if (el.matches("details.tools")) return [...el.querySelectorAll(":scope > .body > details")].flatMap(liveTool);
  if (el.matches("details.retry")) {
    const dropped = el.querySelector(".dropped")!;
    const said = [...el.querySelector("summary")!.children].map((c) => flat(c.textContent)).filter(Boolean).join(" ");
    return [said, ...[...dropped.children].flatMap(livePart), "."];
  }
  if (el.matches("details.data")) return [`data ${flat(el.querySelector("summary .title")!.textContent)}`, value([...el.querySelector(":scope > .body")!.children])];
  if (el.matches("details.tool")) return liveTool(el);
  if (el.matches("figure.file")) {
    const name = flat(el.querySelector(".name")!.textContent);
    const figure = [...el.querySelectorAll(".figure")].map((f) => flat(f.textContent)).join(" · ");
    const table = el.querySelector(".scroll table");
    const note = flat(el.querySelector(".scroll > .note")?.textContent);
    return [...(table ? [`text ${prose([table])}`, note] : []), `file ${name} ${figure}`].filter(Boolean);
  }
  if (el.matches(".progress")) return [`progress ${flat(el.querySelector(".title")!.textContent)} ${flat(el.querySelector(".figure")?.textContent)}`];
  if (el.matches(".steps")) return [...el.querySelectorAll("li")].map((li) => `step ${flat(li.querySelector(".title")!.textContent)} ${flat(li.querySelector(".args")?.textContent)}`.trim());
  if (el.matches(".trouble")) return [...el.children].map((c) => flat(strip(c, "button").textContent)).filter(Boolean);
  if (el.matches("p.note")) return [flat(el.textContent)];
  return [`? ${el.outerHTML}`];
}

/** The lines of a live view whose folds are all open. */
export function ofLive(run: Element): string[] {
  const parts = [...run.querySelectorAll(":scope > .transcript > .node, :scope > .transcript > .earlier")].flatMap(livePart);
  const sources = [...run.querySelectorAll(":scope > footer.sources li")].map((li) => {
    const link = li.querySelector("a");
    const title = flat((link ?? li.querySelector("span"))!.textContent);
    return `source ${(li as HTMLLIElement).value || "-"} ${link?.href ?? ""} ${title}`;
  });
  const after = [...run.querySelectorAll(":scope > .trouble, :scope > p.note")].flatMap(livePart);
  const output = [...run.querySelectorAll(":scope > .output")].map((el) => {
    const words = el.querySelector(".markdown");
    return `text ${prose(words ? words.childNodes : el.childNodes)}`;
  });
  return [`state ${flat(run.querySelector("header .state")!.textContent)}`, ...joined([...parts, ...output]), ...sources, ...after];
}

// ---- the static output
function frozenTool(el: Element): string[] {
  const summary = el.querySelector(":scope > summary")!;
  const [title, args] = [summary.querySelector("strong")!, summary.querySelector("code")];
  const tags = flat(strip(summary, "strong, code").textContent);
  const out = [`tool ${flat(title.textContent)} ${flat(args?.textContent)} ${tags}`.trim()];
  for (const child of el.querySelector(":scope > div")!.children) {
    if (child.matches("p") && /^(?:Arguments|Result|Error)$/.test(flat(child.textContent))) out.push(`${flat(child.textContent)}: `);
    else out[out.length - 1] += (out.at(-1)!.endsWith(": ") ? "" : "\n") + value([child]);
  }
  return out;
}

function frozenDetails(el: Element): string[] {
  const summary = el.querySelector(":scope > summary")!;
  const said = flat(summary.textContent);
  const body = el.querySelector(":scope > div");
  if (/^Thought\b/.test(said)) return [said.replace(/^Thought(?: \((.*)\))?$/, (_, about: string | undefined) => (about ? `thought ${about.replace(", ", " ")}` : "thought")), prose(body!.childNodes)];
  if (/^(?:The answer began again|Tried again)/.test(said)) return [said, ...lines([...body!.children]), "."];
  if (/^\d+ tool calls/.test(said)) return [...body!.querySelectorAll(":scope > details")].flatMap(frozenTool);
  if (!summary.querySelector("strong")) return [said];
  // Custom data has no captions; a call that had neither arguments nor a result has nothing inside.
  if (body!.firstElementChild && !body!.querySelector(":scope > p small")) return [`data ${flat(summary.querySelector("strong")!.textContent)}`, value([...body!.children])];
  return frozenTool(el);
}

const SIZE = /^(.*) \((\S+\/\S+), (.+)\)$/;

function lines(children: Element[]): string[] {
  const out: string[] = [];
  let words: Node[] = [];
  const flush = () => {
    if (words.length) out.push(`text ${prose(words)}`);
    words = [];
  };
  const say = (...said: string[]) => {
    flush();
    out.push(...said);
  };
  for (const el of children) {
    const text = flat(el.textContent);
    const small = el.matches("p") && el.querySelector(":scope > small:only-child, :scope > br + small");
    if (el.matches("details.mesh-node")) {
      const [summary, body] = [...el.children];
      const name = summary!.querySelector("strong")!;
      const about = flat(strip(summary!, "strong").textContent);
      say(`node ${flat(name.textContent).replace(", visit", " visit")}${about ? `: ${about}` : ""}`, ...lines([...body!.children]));
    } else if (el.matches("details.mesh-nodes")) say(`nodes ${flat(el.querySelector("summary")!.textContent)}`, ...lines([...el.querySelector(":scope > div")!.children]), ".");
    else if (el.matches("details")) say(...frozenDetails(el));
    else if (small && el.querySelector("small > strong")) say(`node ${text.replace(", visit", " visit")}`);
    else if (small && SIZE.test(text)) say(text.replace(SIZE, "file $1 $2 · $3"));
    else if (small && /\d %?$|\d of \d/.test(text)) say(`progress ${text.replace(/(\d)%$/, "$1 %")}`);
    else if (small) say(text);
    else if (el.matches("div[style*=border-left]")) say(...[...el.children].map((c) => flat(c.innerHTML.includes("<br>") ? seen(c.childNodes).replaceAll("<br></br>", " ") : c.textContent)));
    else if (el.matches("ol") && el.querySelector(":scope > li > small")) say(...[...el.children].map((li) => `step ${flat(li.textContent)}`));
    else words.push(el);
  }
  flush();
  return out;
}

/** The lines of static output. */
export function ofFrozen(html: string): string[] {
  const root = document.createElement("div");
  root.innerHTML = html;
  const [header, ...rest] = [...root.firstElementChild!.children].filter((el) => !el.matches(".mesh-graph, .mesh-how"));
  const caption = rest.findIndex((el) => el.matches("p") && flat(el.textContent) === "Sources" && el.nextElementSibling?.matches("ol"));
  const read = rest.findIndex((el) => el.matches("details") && /^Also read/.test(flat(el.textContent)));
  const cut = [caption, read].filter((i) => i >= 0).sort((a, b) => a - b)[0] ?? rest.length;
  const lists = rest.slice(cut).filter((el) => el.matches("ol, details"));
  const sources = lists.flatMap((list) =>
    [...list.querySelectorAll("li")].map((li, i) => {
      const link = li.querySelector("a");
      const title = link ? flat(link.textContent) : flat(li.textContent).replace(/: “.*”$/, "");
      return `source ${list.matches("ol") ? i + 1 : "-"} ${link?.href ?? ""} ${title}`;
    }),
  );
  const after = rest.slice(cut).filter((el) => !lists.includes(el) && !(el.matches("p") && flat(el.textContent) === "Sources"));
  return [`state ${flat(header!.querySelector("strong")!.textContent)}`, ...lines(rest.slice(0, cut)), ...sources, ...lines(after)];
}
