// Elements without markup: every text becomes a text node, so that nothing a backend says can become part of the page.

/** @typedef {Node | string | number | null | undefined | false} Child */
/** @typedef {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} Attributes */

/**
 * @param {Element} element
 * @param {Attributes} attributes
 * @param {Child[]} children
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      element.addEventListener(name, value);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, String(value));
    }
  }
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) {
      element.append(typeof child === "number" ? String(child) : child);
    }
  }
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes} [attributes] a function listens to the event of that name
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

/**
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  fill(element, attributes, children);
  return element;
}

/**
 * A text that comes from elsewhere: it has its own direction of writing.
 * @param {string} text
 * @param {string} [classes]
 */
export function foreign(text, classes = "") {
  return h("bdi", { class: classes || null }, text);
}

/**
 * The element with this id, which index.html has.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no element ${id}`);
  return element;
}

/**
 * Sets a text, if it is another one: the browser then has nothing to do.
 * @param {Node} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * @param {Element} element
 * @param {string} name
 * @param {string} value
 */
export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/**
 * Whether a click is for this page, and not for a new tab or window.
 * @param {MouseEvent} event
 */
export function isPlain(event) {
  return !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button);
}

/**
 * A link to a check.
 * @param {string} name
 * @param {(name: string) => void} open
 */
export function checkLink(name, open) {
  /** @param {MouseEvent} event */
  function click(event) {
    if (!isPlain(event)) return;
    event.preventDefault();
    open(name);
  }
  return h("a", { href: `?check=${encodeURIComponent(name)}`, class: "name", click }, foreign(name));
}

const FOCUSABLE = "a, button, summary, h2, pre, [tabindex]";

/**
 * Fills a box anew. What has the focus in it keeps it: the link to the same place, or what is as far down.
 * @param {Element} box
 * @param {...Child} children
 */
export function refill(box, ...children) {
  const focused = document.activeElement;
  const before = focused && focused !== box && box.contains(focused) ? focused : null;
  const place = before ? [...box.querySelectorAll(FOCUSABLE)].indexOf(before) : -1;
  box.replaceChildren();
  fill(box, {}, children);
  if (!before) return;
  const all = [...box.querySelectorAll(FOCUSABLE)];
  const href = before.getAttribute("href");
  const after = (href && all.find((element) => element.getAttribute("href") === href)) || all[place];
  /** @type {HTMLElement | undefined} */ (after)?.focus({ preventScroll: true });
}

/**
 * A command that can be copied.
 * @param {string} command
 * @param {string} [note]
 */
export function command(command, note) {
  const code = h("code", {}, command);
  const button = h("button", { type: "button", class: "copy", "aria-label": `Copy: ${command}`, click: copy }, "copy");
  async function copy() {
    try {
      await navigator.clipboard.writeText(command);
      button.textContent = "copied";
    } catch {
      // Without TLS the clipboard is there for this machine only.
      getSelection()?.selectAllChildren(code);
      button.textContent = "selected";
    }
    setTimeout(() => (button.textContent = "copy"), 1500);
  }
  return h("div", { class: "command" }, note && h("p", { class: "note" }, note), h("div", { class: "line" }, code, button));
}

/**
 * A table; the first row is its head.
 * @param {string} caption
 * @param {string[]} head
 * @param {Child[][]} rows
 */
export function table(caption, head, rows) {
  return h(
    "div",
    { class: "scrolls", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, cell))))),
    ),
  );
}
