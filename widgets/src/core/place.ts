// Buttons at static output: in the page alone, so that no notebook keeps them.

const TRIES = 150;
const PAUSE = 200;

/**
 * Draw at the end of the static output that the kernel marked, in every place of the page where it stands.
 * The mark may go once it was found: what was drawn stays while that output does.
 */
export function place(mark: string, draw: (el: HTMLElement) => () => void, found: () => void): () => void {
  const ends: (() => void)[] = [];
  const known = new Set<Element>();
  const put = (home: Element) => {
    if (known.has(home)) return;
    known.add(home);
    const el = document.createElement("div");
    ends.push(draw(el), () => el.remove());
    const stand = () => {
      const output = home.querySelector(":scope > .mesh-run, :scope > .mesh-chat");
      if (!output || el.parentElement === output) return;
      output.append(el);
      // The buttons do what this line says in Python.
      output.querySelector(":scope > .mesh-how")?.setAttribute("hidden", "");
    };
    stand();
    // The page writes the output anew when the kernel takes the mark off it.
    const watch = new MutationObserver(stand);
    watch.observe(home, { childList: true });
    ends.push(() => watch.disconnect());
  };
  let tries = TRIES;
  const look = () => {
    const marked = document.querySelectorAll(`[data-mesh="${CSS.escape(mark)}"]`);
    for (const { parentElement } of marked) if (parentElement) put(parentElement);
    if (marked.length) found();
    else if (!known.size && --tries > 0) timer = setTimeout(look, PAUSE);
  };
  let timer = setTimeout(look, 0);
  return () => {
    clearTimeout(timer);
    for (const end of ends.splice(0)) end();
  };
}
