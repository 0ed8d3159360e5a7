// The visible widget of a run: about 1 KB, because a page receives it once for every run.
// It keeps what arrives, waits for the hub and hands everything over.
import type { Feed, Message, Model } from "./core/feed";
import { slot } from "./core/slot";
import type { Hub } from "./hub";

const PATIENCE = 1500;

export default () => {
  const early: Message[] = [];
  const { hub } = slot();
  let opened: Promise<[Hub, Feed]>;
  return {
    initialize({ model, signal }: { model: Model; signal?: AbortSignal }) {
      const keep = (message: Message, buffers?: DataView[]) => {
        if (message.kind !== "bundle") early.push(message);
        else if (buffers?.[0]) {
          const url = URL.createObjectURL(new Blob([buffers[0] as BlobPart], { type: "text/javascript" }));
          void import(url).finally(() => URL.revokeObjectURL(url));
        }
      };
      // One stub asks for the page; another does when that one's kernel did not answer.
      const ask = () => {
        const wait = slot().asked + 2 * PATIENCE - Date.now();
        if (wait <= 0) {
          slot().asked = Date.now();
          model.send({ kind: "bundle" });
        }
        timer = setTimeout(ask, Math.max(wait, PATIENCE));
      };
      let timer = setTimeout(ask, PATIENCE);
      const tries = setTimeout(() => clearTimeout(timer), 20 * PATIENCE);
      model.on("msg:custom", keep);
      opened = hub.then((found) => {
        clearTimeout(timer);
        clearTimeout(tries);
        model.off("msg:custom", keep);
        const feed = found.open(model, early.splice(0));
        if (signal?.aborted) feed.close();
        else signal?.addEventListener("abort", () => feed.close());
        return [found, feed];
      });
      signal?.addEventListener("abort", () => clearTimeout(timer));
    },
    render({ model, el, signal }: { model: Model; el: HTMLElement; signal?: AbortSignal }) {
      let dispose: (() => void) | undefined;
      const timer = setTimeout(() => {
        el.textContent = `Run ${model.get("run_id")}: start the kernel to see it live; the saved output shows the answer.`;
      }, 3 * PATIENCE);
      void opened.then(([found, feed]) => {
        clearTimeout(timer);
        el.textContent = "";
        if (!signal?.aborted) dispose = found.mount(feed, el);
      });
      return () => {
        clearTimeout(timer);
        dispose?.();
      };
    },
  };
};
