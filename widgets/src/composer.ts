// The box in which a chat's next message is written: text, attachments by button, drop and paste, edit, stop.
import css from "./composer.css";
import { place } from "./core/place";

const LIMIT = 20_000_000;

interface Model {
  get(name: string): unknown;
  on(name: string, callback: () => void): void;
  off(name: string, callback: () => void): void;
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
}

interface Attachment {
  name: string;
  type: string;
  bytes: ArrayBuffer;
}

function size(bytes: number): string {
  return bytes < 1000 ? `${bytes} B` : bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function element<K extends keyof HTMLElementTagNameMap>(tag: K, set: Partial<HTMLElementTagNameMap[K]> = {}): HTMLElementTagNameMap[K] {
  return Object.assign(document.createElement(tag), set);
}

function render({ model, el }: { model: Model; el: HTMLElement }) {
  const root = el.attachShadow({ mode: "open" });
  root.append(element("style", { textContent: css }));
  const form = element("form", { className: "composer" });
  const text = element("textarea", { rows: 1, dir: "auto", placeholder: "Ask something" });
  text.setAttribute("aria-label", "Message");
  const pieces = element("div", { className: "pieces" });
  const note = element("div", { className: "note" });
  note.setAttribute("role", "status");
  const attach = element("button", { type: "button", className: "quiet", textContent: "Attach", title: "Attach files; or drop or paste them" });
  const edit = element("button", { type: "button", className: "quiet", textContent: "Edit last", title: "Edit an earlier message and ask again (arrow up in the empty box)" });
  const cancel = element("button", { type: "button", className: "quiet", textContent: "Cancel" });
  const send = element("button", { type: "submit", className: "send", textContent: "Send" });
  const picker = element("input", { type: "file", multiple: true, hidden: true });
  const row = element("div", { className: "row" });
  row.append(attach, edit, cancel, note, send);
  form.append(pieces, text, row, picker);
  root.append(form);

  let files: Attachment[] = [];
  let editing: number | null = null;
  const turns = () => (model.get("turns") as string[]) ?? [];
  const busy = () => Boolean(model.get("busy"));

  const grow = () => {
    text.style.height = "auto";
    text.style.height = `${Math.min(text.scrollHeight + 2, 320)}px`;
  };
  const say = (words: string) => (note.textContent = words);
  const draw = () => {
    pieces.replaceChildren(
      ...files.map((file, at) => {
        const piece = element("span", { className: "piece", textContent: `${file.name} · ${size(file.bytes.byteLength)}` });
        const drop = element("button", { type: "button", textContent: "×", title: `Remove ${file.name}`, ariaLabel: `Remove ${file.name}` });
        drop.onclick = () => ((files = files.filter((_, n) => n !== at)), draw());
        piece.append(drop);
        return piece;
      }),
    );
    const running = busy();
    send.textContent = running ? "Stop" : editing === null ? "Send" : "Ask again";
    send.classList.toggle("stop", running);
    send.disabled = !running && !text.value.trim() && !files.length;
    edit.hidden = running || editing !== null || !turns().length;
    cancel.hidden = editing === null;
    form.classList.toggle("editing", editing !== null);
  };
  const start = (at: number) => {
    const known = turns();
    if (at < 0 || at >= known.length) return;
    editing = at;
    text.value = known[at] ?? "";
    say(`Message ${at + 1} of ${known.length}: what follows it is asked anew.`);
    grow();
    draw();
    text.focus();
  };
  const stop = () => {
    editing = null;
    text.value = "";
    files = [];
    say("");
    grow();
    draw();
  };
  const take = async (found: Iterable<File>) => {
    for (const file of found) {
      const total = files.reduce((sum, one) => sum + one.bytes.byteLength, file.size);
      if (total > LIMIT) say(`${file.name} is left out: attachments may be ${size(LIMIT)} in all.`);
      else files = [...files, { name: file.name || "pasted", type: file.type, bytes: await file.arrayBuffer() }];
    }
    draw();
  };
  const submit = () => {
    if (busy()) return model.send({ kind: "stop" });
    if (!text.value.trim() && !files.length) return;
    const named = files.map(({ name, type }) => ({ name, type }));
    model.send({ kind: "send", text: text.value, edit: editing, files: named }, undefined, files.map((file) => file.bytes));
    stop();
  };

  form.onsubmit = (event) => (event.preventDefault(), submit());
  text.oninput = () => (grow(), draw());
  text.onkeydown = (event) => {
    // The notebook has its own meaning for most keys.
    event.stopPropagation();
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!busy()) submit();
    } else if (event.key === "ArrowUp" && !busy() && (editing !== null ? text.selectionStart === 0 : !text.value)) {
      event.preventDefault();
      start((editing ?? turns().length) - 1);
    } else if (event.key === "Escape" && editing !== null) stop();
  };
  text.onpaste = (event) => {
    const found = [...(event.clipboardData?.files ?? [])];
    if (!found.length) return;
    event.preventDefault();
    void take(found);
  };
  for (const kind of ["dragover", "dragleave", "drop"] as const)
    form.addEventListener(kind, (event) => {
      event.preventDefault();
      event.stopPropagation();
      form.classList.toggle("over", kind === "dragover");
      if (kind === "drop") void take([...(event.dataTransfer?.files ?? [])]);
    });
  attach.onclick = () => picker.click();
  picker.onchange = () => (void take([...(picker.files ?? [])]), (picker.value = ""));
  edit.onclick = () => start(turns().length - 1);
  cancel.onclick = stop;

  const told = () => say(String(model.get("note") ?? ""));
  for (const name of ["turns", "busy"]) model.on(`change:${name}`, draw);
  model.on("change:note", told);
  told();
  draw();
  return () => {
    for (const name of ["turns", "busy"]) model.off(`change:${name}`, draw);
    model.off("change:note", told);
  };
}

/** Without an output of its own the box stands where the kernel marked one. */
function initialize({ model, signal }: { model: Model; signal?: AbortSignal }) {
  model.send({ kind: "hello" });
  const mark = String(model.get("mark") ?? "");
  if (!mark) return;
  const remove = place(mark, (el) => {
    // JupyterLab's one-letter commands must not see keys typed in here.
    el.setAttribute("data-lm-suppress-shortcuts", "true");
    return render({ model, el });
  }, () => {});
  model.on("comm_live_update", remove);
  signal?.addEventListener("abort", remove);
  return remove;
}

export default { initialize, render };
