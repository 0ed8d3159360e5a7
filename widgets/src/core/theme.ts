import css from "./theme.css";

let sheet: CSSStyleSheet | undefined;

/** Give a shadow root our style sheet; one sheet serves every run of the page. */
export function adopt(root: ShadowRoot): void {
  if ("adoptedStyleSheets" in root && typeof CSSStyleSheet === "function") {
    if (!sheet) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(css);
    }
    root.adoptedStyleSheets = [sheet];
    return;
  }
  (root as ShadowRoot).appendChild(document.createElement("style")).textContent = css;
}
