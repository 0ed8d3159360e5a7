// What is drawn at static output: in the page alone, so that no notebook keeps it.

const TRIES = 150;
const PAUSE = 200;

/**
 * Draw at the end of the output that the kernel marked, in every place of the page where it stands.
 * The mark may go once it was found: what was drawn stays while that output does.
 */
export function place(mark: string, draw: (el: HTMLElement) => () => void, found: () => void): () => void {
  const marked = `[data-mesh="${CSS.escape(mark)}"]`;
  const ends: (() => void)[] = [];
  const hide = (line: Element) => {
    line.setAttribute("hidden", "");
    ends.push(() => line.removeAttribute("hidden"));
  };
  const known = new Set<Element>();
  const put = (home: Element) => {
    if (known.has(home)) return;
    known.add(home);
    const el = document.createElement("div");
    ends.push(draw(el), () => el.remove());
    const stand = () => {
      const output = home.querySelector(`:scope > ${marked}`) ?? home.querySelector(":scope > .mesh-run");
      if (!output || el.parentElement === output) return;
      output.append(el);
      // What is drawn does what this line says in words.
      const line = output.querySelector(":scope > .mesh-how");
      if (line) hide(line);
    };
    stand();
    // The page writes the output anew when the kernel takes the mark off it.
    const watch = new MutationObserver(stand);
    watch.observe(home, { childList: true });
    ends.push(() => watch.disconnect());
  };
  let tries = TRIES;
  const look = () => {
    const places = document.querySelectorAll(marked);
    for (const { parentElement } of places) if (parentElement) put(parentElement);
    if (places.length) found();
    else if (!known.size && --tries > 0) timer = setTimeout(look, PAUSE);
  };
  let timer = setTimeout(look, 0);
  return () => {
    clearTimeout(timer);
    for (const end of ends.splice(0)) end();
  };
}
