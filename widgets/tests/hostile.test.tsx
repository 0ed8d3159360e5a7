// Hostile strings (tests/hostile.py) in every place of a run: the live view has nothing that runs, loads or submits.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Blocks } from "../src/core/blocks";
import type { EventType } from "../src/core/events";
import { Feed } from "../src/core/feed";
import { html, sanitize } from "../src/core/markdown";
import { safeName } from "../src/views/files";
import { RunView } from "../src/views/run";
import { batch, events, MockModel } from "./mock";

interface Corpus {
  all: { text: string; told: [EventType, object][] }[];
  names: string[];
  large: Record<string, string>;
}

const { all, names, large } = JSON.parse(readFileSync(join(import.meta.dirname, "..", "..", "build", "hostile.json"), "utf8")) as Corpus;

const TAGS = new Set(
  "a audio blockquote br button code del details div em figcaption figure footer h1 h2 h3 h4 h5 h6 header hr i img input li ol p pre progress section small span strong summary svg path circle rect text g table tbody td th thead tr ul math mrow mi mo mn ms mtext mspace mstyle merror mpadded mphantom msup msub msubsup mfrac msqrt mroot mover munder munderover mtable mtr mtd menclose".split(
    " ",
  ),
);

/** What of a view is neither text nor harmless. */
function live(root: Element): string[] {
  const found: string[] = [];
  for (const el of root.querySelectorAll("*")) {
    if (!TAGS.has(el.localName)) found.push(`<${el.localName}>`);
    for (const { name, value } of el.attributes) {
      const bad =
        /^on|^srcset$|^formaction$|^action$|^ping$|^xlink:|^data-command/i.test(name) ||
        (name === "href" && !/^(?:https?:\/\/|mailto:)/i.test(value)) ||
        (name === "src" && !/^(?:blob:|data:image\/(?:png|jpe?g|gif|webp|avif|bmp);base64,)/i.test(value)) ||
        (name === "style" && /url\(|fixed|expression/i.test(value)) ||
        (name === "id" && value !== "" && !/^m-/.test(value));
      if (bad) found.push(`${el.localName} ${name}=${value.slice(0, 80)}`);
    }
    if (el.localName === "a" && !(el as HTMLAnchorElement).rel.includes("noopener")) found.push("a link that knows its opener");
  }
  return found;
}

function shown(rows: [EventType, string, object][]): Element {
  const model = new MockModel();
  const feed = new Feed(model, []);
  feed.choices.get = () => true;
  const el = document.body.appendChild(document.createElement("div"));
  act(() => render(<RunView feed={feed} />, el));
  act(() => {
    model.receive(batch(events(rows as never)));
    vi.advanceTimersToNextFrame();
  });
  for (let n = 0; n < 30; n++) act(() => void vi.advanceTimersToNextFrame());
  return el;
}

beforeEach(() => {
  vi.useFakeTimers();
  URL.createObjectURL = () => "blob:1";
  URL.revokeObjectURL = () => undefined;
  window.alert = () => {
    throw new Error("a script ran");
  };
});
afterEach(() => {
  vi.useRealTimers();
  document.body.replaceChildren();
});

describe("hostile strings in every place", () => {
  it("are more than 300", () => expect(all.length).toBeGreaterThanOrEqual(300));

  const size = 26;
  for (let from = 0; from < all.length; from += size)
    it(`${from} to ${Math.min(from + size, all.length) - 1}`, () => {
      for (const { text, told } of all.slice(from, from + size)) {
        const said = told.map(([type, fields]): [EventType, string, object] => [type, text, fields]);
        const start: [EventType, string, object] = ["execution_start", "START", { metadata: { graph_id: text } }];
        const failed: [EventType, string, object] = ["node_error", text, { error: text }];
        const ended: [EventType, string, object] = ["execution_error", "START", { error: text, metadata: { status: "failed" } }];
        const el = shown([start, ["node_start", text, {}], ["node_start", "other", {}], ...said, ["node_retry", "other", { error: text }], failed, ended]);
        expect(live(el), text).toEqual([]);
        expect(el.querySelector(".node")!.textContent!.length).toBeGreaterThan(0);
        el.remove();
      }
    });

  it("are saved under names that stay in their folder", () => {
    for (const name of names) {
      const safe = safeName(name);
      expect(safe).toMatch(/^[^/\\:*?"<>|\p{Cc}\p{Cf}]+$/u);
      expect(safe).not.toMatch(/^\./);
    }
  });
});

describe("hostile sizes", () => {
  for (const [name, text] of Object.entries(large))
    it(name, () => {
      const blocks = new Blocks();
      for (let end = 65_536; end < text.length; end += 65_536) {
        blocks.update(text.slice(0, end), false);
        blocks.advance();
      }
      blocks.update(text, true);
      blocks.advance();
      const kept = blocks.frozen.reduce((n, b) => n + b.raw.replace(/\s/g, "").length, 0);
      expect(kept).toBe(text.replace(/\s/g, "").length);
      const el = document.createElement("div");
      for (const block of blocks.frozen.slice(0, 20)) el.append(sanitize(html(block, blocks.links, false)));
      expect(live(el)).toEqual([]);
    });
});
