// The list of checks: of a hundred thousand rows those on the screen exist.

/** @import { Feed } from "./feed.js" */
/** @import { Model, Row } from "./model.js" */
/** @import { Group, Query, Selection } from "./query.js" */
import { byId, foreign, h, setAttribute, setText } from "./dom.js";
import { MARK, stateOf } from "./model.js";
import { draw, inWords, spark } from "./spark.js";
import { latency, number, plural, span } from "./words.js";

/** Rows above and below the screen that exist, too. */
const BEYOND = 8;

/** A line: a check, or the group of those below it. @typedef {Row | Group} Entry */

/**
 * The elements of one line.
 * @typedef {object} Line
 * @property {HTMLElement} element
 * @property {HTMLElement} mark
 * @property {HTMLElement} word
 * @property {HTMLElement} name
 * @property {HTMLElement} target
 * @property {HTMLElement} tags
 * @property {HTMLElement} since
 * @property {HTMLElement} message
 * @property {SVGSVGElement} spark
 * @property {HTMLElement} latency
 * @property {HTMLElement} last
 * @property {number} at which entry it shows
 */

export class List {
  /** @type {Entry[]} */
  #entries = [];
  /** @type {Line[]} */
  #lines = [];
  /** @type {Set<string>} */
  #folded = new Set();
  /** The line with the cursor: the id of a check, or `group NAME`. */
  #active = "";
  /** Where that is; -1: it is not among the lines. */
  #place = -1;
  #box = byId("rows");
  #grid = byId("grid");

  /**
   * @param {Model} model
   * @param {Feed} feed
   * @param {Selection} selection
   * @param {(name: string) => void} open
   */
  constructor(model, feed, selection, open) {
    this.model = model;
    this.feed = feed;
    this.selection = selection;
    this.open = open;
    this.#grid.addEventListener("keydown", (event) => this.#key(event));
    this.#grid.addEventListener("focus", () => {
      // Not for a click: lines that move under the pointer would not get it.
      if (this.#place < 0 && this.#grid.matches(":focus-visible")) this.#go(this.#range()[0]);
      this.draw();
    });
    this.#grid.addEventListener("blur", () => this.draw());
    this.#box.addEventListener("click", (event) => this.#click(event));
    let isDue = false;
    const redraw = () => {
      if (isDue || this.#grid.closest("[hidden]")) return;
      isDue = true;
      requestAnimationFrame(() => {
        isDue = false;
        this.draw();
      });
    };
    addEventListener("scroll", redraw, { passive: true });
    addEventListener("resize", redraw);
    let settled = 0;
    addEventListener("scrollend", () => {
      clearTimeout(settled);
      settled = setTimeout(() => void this.feed.refresh(), 150);
    });
  }

  /** The height of a line, which the style sheet says. */
  get #height() {
    return parseFloat(getComputedStyle(this.#grid).getPropertyValue("--row")) || 34;
  }

  /**
   * Chooses anew what is shown.
   * @param {Query} query
   */
  update(query) {
    const rows = this.selection.rows(query);
    const groups = this.selection.groups(query, rows);
    if (groups) {
      this.#entries = [];
      for (const group of groups) {
        this.#entries.push(group);
        if (!this.#folded.has(group.name)) for (const row of group.rows) this.#entries.push(row);
      }
    } else {
      this.#entries = rows;
    }
    this.#find();
    setText(byId("shown"), rows.length === this.model.rows.length ? "" : `${number(rows.length)} of ${plural(this.model.rows.length, "check")}`);
    byId("nothing").hidden = rows.length > 0 || !this.model.complete;
    setAttribute(this.#grid, "aria-rowcount", String(this.#entries.length));
    this.#box.style.height = `${this.#entries.length * this.#height}px`;
    this.draw();
  }

  /** The first entry on the screen, and the one behind the last. @returns {[number, number]} */
  #range() {
    const height = this.#height;
    const above = -this.#box.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(above / height));
    const last = Math.min(this.#entries.length, Math.ceil((above + innerHeight) / height));
    return [Math.min(first, this.#entries.length), Math.max(0, last)];
  }

  /** Ids of the checks on the screen. */
  visible() {
    if (this.#grid.closest("[hidden]")) return [];
    const [first, last] = this.#range();
    return this.#entries.slice(first, last).flatMap((entry) => (isGroup(entry) ? [] : [entry.id]));
  }

  /** Brings the lines on the screen up to date. */
  draw() {
    const height = this.#height;
    const [first, last] = this.#range();
    const from = Math.max(0, first - BEYOND);
    const to = Math.min(this.#entries.length, last + BEYOND);
    while (this.#lines.length < to - from) this.#lines.push(this.#line());
    // A line keeps its entry while it is on the screen, so that little changes when it scrolls.
    this.#lines.forEach((line, index) => {
      const count = this.#lines.length;
      const at = from + ((((index - from) % count) + count) % count);
      line.element.hidden = at >= to;
      if (at < to) this.#fill(line, at, height);
    });
    const shown = this.#lines.find((line) => line.at === this.#place && !line.element.hidden);
    if (shown) setAttribute(this.#grid, "aria-activedescendant", shown.element.id);
    else this.#grid.removeAttribute("aria-activedescendant");
  }

  /** @returns {Line} */
  #line() {
    const mark = h("span", { class: "mark", "aria-hidden": "true" });
    const word = h("span", { class: "word" });
    const name = foreign("", "name");
    const target = foreign("", "target");
    const tags = h("span", { class: "tags" });
    const since = h("div", { class: "since", role: "gridcell" });
    const message = foreign("");
    const latencyText = h("span", { class: "figure" });
    const last = h("div", { class: "last", role: "gridcell" });
    const drawing = spark(84, 22);
    const element = h(
      "div",
      { class: "line", role: "row", id: `line-${this.#lines.length}` },
      h("div", { class: "state", role: "gridcell" }, mark, word),
      h("div", { class: "who", role: "gridcell" }, name, " ", target, " ", tags),
      since,
      h("div", { class: "message", role: "gridcell" }, message),
      h("div", { class: "latency", role: "gridcell" }, drawing, latencyText),
      last,
    );
    this.#box.append(element);
    return { element, mark, word, name, target, tags, since, message, spark: drawing, latency: latencyText, last, at: -1 };
  }

  /**
   * @param {Line} line
   * @param {number} at
   * @param {number} height
   */
  #fill(line, at, height) {
    const entry = this.#entries[at];
    if (!entry) return;
    line.at = at;
    line.element.style.transform = `translateY(${at * height}px)`;
    setAttribute(line.element, "aria-rowindex", String(at + 1));
    const isActive = at === this.#place && document.activeElement === this.#grid;
    line.element.classList.toggle("active", isActive);
    line.element.classList.toggle("is-group", isGroup(entry));
    if (isGroup(entry)) this.#fillGroup(line, entry);
    else this.#fillRow(line, entry);
  }

  /**
   * @param {Line} line
   * @param {Group} group
   */
  #fillGroup(line, group) {
    const state = group.down ? "down" : group.held ? "held" : group.unknown ? "unknown" : "up";
    setAttribute(line.element, "data-state", state);
    const isFolded = this.#folded.has(group.name);
    setAttribute(line.element, "aria-expanded", String(!isFolded));
    setText(line.mark, isFolded ? "▸" : "▾");
    const parts = [];
    if (group.down) parts.push(`${number(group.down)} down`);
    if (group.held) parts.push(`${number(group.held)} held`);
    if (group.unknown) parts.push(`${number(group.unknown)} unknown`);
    setText(line.word, "");
    setText(line.name, group.name || "(none)");
    setText(line.target, parts.length ? `${parts.join(", ")} of ${number(group.rows.length)}` : `all ${number(group.rows.length)} up`);
    for (const element of [line.since, line.message, line.latency, line.last]) setText(element, "");
    line.tags.replaceChildren();
    draw(line.spark, []);
  }

  /**
   * @param {Line} line
   * @param {Row} row
   */
  #fillRow(line, row) {
    const state = stateOf(row);
    const now = this.model.now();
    const isLost = this.feed.lostSince !== null;
    setAttribute(line.element, "data-state", state);
    line.element.removeAttribute("aria-expanded");
    setText(line.mark, isLost ? "–" : MARK[state]);
    setText(line.word, isLost ? `was ${state}` : state);
    setText(line.name, row.name);
    setText(line.target, row.target === row.name ? "" : row.target);
    setText(line.since, row.since === null ? "" : span((isLost ? now - (Date.now() - this.feed.trueAt) : now) - row.since));
    setText(line.message, words(row, now));
    line.message.classList.toggle("past", state === "up" && !row.warning);
    const tags = tagsOf(row).join("\n");
    if (line.tags.dataset.text !== tags) {
      line.tags.dataset.text = tags;
      line.tags.replaceChildren(...tagsOf(row).map((tag) => h("span", { class: "tag" }, tag)));
    }
    draw(line.spark, row.samples, row.max / 4);
    setAttribute(line.spark, "data-words", inWords(row.samples));
    setText(line.latency, row.duration ? latency(row.mean || row.duration) : "");
    setText(line.last, row.lastCheck === null ? "never" : isLost ? "" : `${span(now - row.lastCheck)} ago`);
  }

  /** Finds the line with the cursor: once when the lines have changed, and not for each that is drawn. */
  #find() {
    const of = this.#active;
    const known = this.#entries[this.#place];
    if (!of || (known && keyOf(known) === of)) return;
    this.#place = this.#entries.findIndex((entry) => keyOf(entry) === of);
  }

  /** @param {number} at moves the cursor there, and the page with it */
  #go(at) {
    const place = Math.max(0, Math.min(at, this.#entries.length - 1));
    const entry = this.#entries[place];
    if (!entry) return;
    this.#active = keyOf(entry);
    this.#place = place;
    const height = this.#height;
    const top = this.#box.getBoundingClientRect().top + place * height;
    const covered = byId("list-head").getBoundingClientRect().bottom;
    if (top < covered) scrollBy(0, top - covered);
    else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight);
    this.draw();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(innerHeight / this.#height) - 4);
    // Without a cursor it begins at what is seen.
    const at = this.#place < 0 ? this.#range()[0] - 1 : this.#place;
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowDown: () => this.#go(at + 1),
      j: () => this.#go(at + 1),
      ArrowUp: () => this.#go(at - 1),
      k: () => this.#go(at - 1),
      PageDown: () => this.#go(at + page),
      PageUp: () => this.#go(at - page),
      Home: () => this.#go(0),
      End: () => this.#go(this.#entries.length - 1),
      Enter: () => this.#choose(this.#place),
      " ": () => this.#choose(this.#place),
    };
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** @param {number} at */
  #choose(at) {
    const entry = this.#entries[at];
    if (!entry) return;
    if (!isGroup(entry)) {
      this.open(entry.name);
      return;
    }
    const { name } = entry;
    if (!this.#folded.delete(name)) this.#folded.add(name);
    this.refold();
  }

  /** Somebody wants the groups to be made again. @type {() => void} */
  refold = () => {};

  /** @param {MouseEvent} event */
  #click(event) {
    // Who marks a text to copy it does not want another page.
    if (!(event.target instanceof Element) || getSelection()?.type === "Range") return;
    const element = event.target.closest(".line");
    const line = this.#lines.find((line) => line.element === element);
    const entry = line && this.#entries[line.at];
    if (!line || !entry) return;
    this.#active = keyOf(entry);
    this.#place = line.at;
    this.#choose(line.at);
  }
}

/** @param {Entry} entry @returns {entry is Group} */
function isGroup(entry) {
  return "rows" in entry;
}

/** @param {Entry} entry */
function keyOf(entry) {
  return isGroup(entry) ? `group ${entry.name}` : entry.id;
}

/**
 * What there is to say: why it is down, or when it last failed.
 * @param {Row} row
 * @param {number} now
 */
function words(row, now) {
  // The target stands beside the name already.
  /** @param {string} message */
  const brief = (message) => {
    const begin = message.indexOf(`${row.target}; `);
    return begin < 0 ? message : message.slice(begin + row.target.length + 2);
  };
  if (row.held) return `held: ${row.held}`;
  if (row.warning) return `warning: ${row.warning}`;
  if (row.health === "healthy" && row.failure && row.failedAt !== null) {
    return `failed ${span(now - row.failedAt)} ago: ${brief(row.failure)}`;
  }
  return row.health === "healthy" ? "" : brief(row.message) || "no probe has ended yet";
}

/** @param {Row} row */
function tagsOf(row) {
  const tags = [];
  if (row.overrides) tags.push(row.overrides);
  if (row.warning) tags.push("warning");
  if (row.reported && !row.overrides) tags.push(`${row.reportedBy}: told ${row.reported}`);
  if (row.held && row.health === "unhealthy") tags.push("held");
  return tags;
}
