// All checks at once: a square for each.

/** @import { Feed } from "./feed.js" */
/** @import { Model, Row } from "./model.js" */
/** @import { Query, Selection } from "./query.js" */
import { byId, setText } from "./dom.js";
import { stateOf } from "./model.js";
import { latency, span } from "./words.js";

const LARGEST = 28;
const SMALLEST = 3;

export class Heat {
  #canvas = /** @type {HTMLCanvasElement} */ (byId("heat-canvas"));
  #tip = byId("heat-tip");
  /** @type {Row[]} */
  #rows = [];
  #columns = 1;
  #size = LARGEST;
  #cursor = 0;
  #isKeyboard = false;

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
    const canvas = this.#canvas;
    canvas.addEventListener("pointermove", (event) => {
      this.#isKeyboard = false;
      this.#point(this.#at(event), event.clientX, event.clientY);
    });
    canvas.addEventListener("pointerleave", () => (this.#tip.hidden = true));
    canvas.addEventListener("click", (event) => {
      const row = this.#rows[this.#at(event)];
      if (row) open(row.name);
    });
    canvas.addEventListener("focus", () => this.#move(this.#cursor));
    canvas.addEventListener("blur", () => {
      this.#isKeyboard = false;
      this.#tip.hidden = true;
      this.#paint();
    });
    canvas.addEventListener("keydown", (event) => {
      /** @type {Record<string, number>} */
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.#columns, ArrowUp: -this.#columns, Home: -Infinity, End: Infinity };
      const step = steps[event.key];
      const row = this.#rows[this.#cursor];
      if (step !== undefined) this.#move(this.#cursor + step);
      else if (event.key === "Enter" && row) open(row.name);
      else return;
      event.preventDefault();
    });
    addEventListener("resize", () => this.#paint());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#paint());
  }

  /** @param {Query} query */
  update(query) {
    // By name, so that a check keeps its place when it changes.
    const rows = this.selection.rows(query, "name");
    const groups = this.selection.groups(query, rows);
    this.#rows = groups ? groups.toSorted((a, b) => (a.name < b.name ? -1 : 1)).flatMap((group) => group.rows) : rows;
    this.colour = query.colour;
    this.#paint();
  }

  /** @type {Query["colour"]} */
  colour = "health";

  #paint() {
    const canvas = this.#canvas;
    if (canvas.closest("[hidden]")) return;
    const width = canvas.parentElement?.clientWidth ?? 300;
    const count = Math.max(1, this.#rows.length);
    const room = Math.max(200, innerHeight - canvas.getBoundingClientRect().top - scrollY - 40);
    const fits = Math.floor(Math.sqrt((width * room) / count));
    const size = Math.max(SMALLEST, Math.min(LARGEST, fits));
    this.#size = size;
    this.#columns = Math.max(1, Math.floor(width / size));
    const height = Math.ceil(count / this.#columns) * size;
    const scale = devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    if (!context) return;
    context.scale(scale, scale);
    // The canvas knows no variables.
    const probe = document.createElement("i");
    canvas.after(probe);
    /** @param {string} name */
    const colour = (name) => {
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color;
    };
    const gap = size >= 14 ? 2 : size >= 6 ? 1 : size >= 4 ? 0.5 : 0;
    // A path for each colour: one call of the canvas draws thousands of squares.
    /** @type {Map<string, Path2D>} */
    const paths = new Map();
    const isByLatency = this.colour === "latency";
    this.#rows.forEach((row, index) => {
      const key = isByLatency ? byLatency(row) : stateOf(row);
      let path = paths.get(key);
      if (!path) paths.set(key, (path = new Path2D()));
      path.rect((index % this.#columns) * size, Math.floor(index / this.#columns) * size, size - gap, size - gap);
    });
    for (const [key, path] of paths) {
      context.fillStyle = colour(`--heat-${key}`);
      context.fill(path);
    }
    if (size >= 10) this.#marks(context, size, gap, colour("--heat-mark"));
    const text = colour("--text");
    probe.remove();
    if (this.#isKeyboard) {
      context.strokeStyle = text;
      context.lineWidth = 2;
      const [x, y] = this.#corner(this.#cursor);
      context.strokeRect(x - 1, y - 1, size - gap + 2, size - gap + 2);
    }
    const down = this.#rows.filter((row) => stateOf(row) === "down").length;
    canvas.setAttribute("aria-label", `Heat map of ${this.#rows.length} checks, ${down} down. Arrow keys move, Enter opens.`);
  }

  /**
   * What is down or held has a mark, so that nobody needs the colours.
   * @param {CanvasRenderingContext2D} context
   * @param {number} size
   * @param {number} gap
   * @param {string} colour
   */
  #marks(context, size, gap, colour) {
    context.strokeStyle = colour;
    context.lineWidth = Math.max(1.5, size / 12);
    context.beginPath();
    this.#rows.forEach((row, index) => {
      const state = stateOf(row);
      if (state !== "down" && state !== "held") return;
      const [x, y] = this.#corner(index);
      const [near, far] = [(size - gap) * 0.3, (size - gap) * 0.7];
      context.moveTo(x + near, y + near);
      context.lineTo(state === "down" ? x + far : x + near, y + far);
      context.moveTo(x + far, y + near);
      context.lineTo(state === "down" ? x + near : x + far, y + far);
    });
    context.stroke();
  }

  /** @param {number} index @returns {[number, number]} */
  #corner(index) {
    return [(index % this.#columns) * this.#size, Math.floor(index / this.#columns) * this.#size];
  }

  /** @param {MouseEvent} event */
  #at(event) {
    const column = Math.floor(event.offsetX / this.#size);
    return column < this.#columns ? Math.floor(event.offsetY / this.#size) * this.#columns + column : -1;
  }

  /** @param {number} to moves the cursor of the keyboard there */
  #move(to) {
    if (!this.#rows.length) return;
    this.#cursor = Math.max(0, Math.min(to, this.#rows.length - 1));
    this.#isKeyboard = true;
    this.#paint();
    const box = this.#canvas.getBoundingClientRect();
    const [x, y] = this.#corner(this.#cursor);
    if (box.top + y < 60 || box.top + y > innerHeight - 90) scrollBy(0, box.top + y - innerHeight / 2);
    const { left, top } = this.#canvas.getBoundingClientRect();
    this.#point(this.#cursor, left + x + this.#size, top + y + this.#size);
  }

  /**
   * @param {number} index
   * @param {number} x
   * @param {number} y
   */
  #point(index, x, y) {
    const row = this.#rows[index];
    this.#tip.hidden = !row;
    if (!row) return;
    const state = this.feed.lostSince === null ? stateOf(row) : `was ${stateOf(row)}`;
    const since = row.since === null ? "" : ` for ${span(this.model.now() - row.since)}`;
    const why = row.held || (row.health === "healthy" ? (row.mean ? `${latency(row.mean)} on average` : "") : row.message);
    setText(this.#tip, `${row.name}: ${state}${since}${why && `, ${why}`}`);
    const { offsetWidth, offsetHeight } = this.#tip;
    const left = Math.max(8, Math.min(x + 12, innerWidth - offsetWidth - 8));
    const top = y + 16 + offsetHeight > innerHeight ? y - offsetHeight - 10 : y + 16;
    this.#tip.style.transform = `translate(${left}px, ${top}px)`;
  }
}

/** @param {Row} row @returns {string} in steps of a factor of four, from below a millisecond on */
function byLatency(row) {
  if (stateOf(row) === "down") return "down";
  if (!row.mean) return "unknown";
  return `l${Math.max(0, Math.min(5, Math.floor(Math.log(row.mean / 250) / Math.log(4))))}`;
}
