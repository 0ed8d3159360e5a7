// The front end, once a page: publishes itself under its own content hash, so that two versions may meet.
import { render, type VNode } from "preact";
import { Feed, type Message, type Model } from "./core/feed";
import { drawings, type Drawings } from "./core/more";
import { slot } from "./core/slot";
import { adopt } from "./core/theme";
import * as shared from "./shared";
import { RunView } from "./views/run";

export interface Hub {
  /** Take over a run's model and the messages that came before the hub did. */
  open(model: Model, early?: Message[]): Feed;
  /** Draw a run into an element; returns what removes it. */
  mount(feed: Feed, el: HTMLElement): () => void;
  /** Take in the module of graphs and timelines, which is made with the hub's own parts. */
  draw(make: (require: () => typeof shared) => Drawings): void;
}

function draw(el: HTMLElement, view: VNode): () => void {
  // JupyterLab's one-letter commands ("dd" deletes the cell) must not see keys typed in here.
  el.setAttribute("data-lm-suppress-shortcuts", "true");
  const host = el.appendChild(document.createElement("div"));
  const root = host.attachShadow({ mode: "open" });
  adopt(root);
  render(view, root);
  return () => {
    render(null, root);
    host.remove();
  };
}

function buttons(feed: Feed, mark: string): () => void {
  let remove = () => {};
  const wait = drawings.use(({ Bar, place }) => {
    remove = place(mark, (el) => draw(el, <Bar feed={feed} />), () => feed.placed());
  });
  return () => {
    wait();
    remove();
  };
}

export const hub: Hub = {
  open(model, early = []) {
    const feed = new Feed(model, early);
    let [at, remove] = ["", () => {}];
    // Static output has taken the run's place: its buttons stand there.
    feed.follow(() => {
      const mark = feed.offer?.mark ?? "";
      if (mark === at) return;
      remove();
      at = mark;
      remove = mark ? buttons(feed, mark) : () => {};
    }, () => remove());
    const stand = String(model.get("place") ?? "");
    if (stand) {
      let end = () => {};
      const wait = drawings.use(({ place }) => (end = place(stand, (el) => draw(el, <RunView feed={feed} />), () => {})));
      feed.follow(() => {}, () => (wait(), end()));
    }
    return feed;
  },
  mount: (feed, el) => draw(el, <RunView feed={feed} />),
  draw(make) {
    if (!drawings.here) drawings.provide(make(() => shared));
  },
};

slot().publish(hub);

export default { initialize() {}, render() {} };
