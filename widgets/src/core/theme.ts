import css from "./theme.css";

let sheet: CSSStyleSheet | undefined;
let text: string = css;
/** Where a page knows no shared sheets. */
const styles: HTMLStyleElement[] = [];

/** Give a shadow root our style sheet; one sheet serves every run of the page. */
export function adopt(root: ShadowRoot): void {
  if ("adoptedStyleSheets" in root && typeof CSSStyleSheet === "function") {
    if (!sheet) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(text);
    }
    root.adoptedStyleSheets = [sheet];
    return;
  }
  const style = (root as ShadowRoot).appendChild(document.createElement("style"));
  style.textContent = text;
  styles.push(style);
}

/** Add the styles of a module that came later to every root, those that have the sheet and those to come. */
export function extend(more: string): void {
  text += more;
  sheet?.replaceSync(text);
  for (const style of styles) style.textContent = text;
}
