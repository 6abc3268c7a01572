// Keeps the model true, and says when it cannot.
//
// Three things go on: /api/v1/status every two seconds, which is also the sign of life; events as they happen; and rows, all
// of them from time to time and those on the screen every two seconds.

/** @import { Said } from "./events.js" */
/** @import { Columns, Model, Overview, Transition } from "./model.js" */
import { parts, Stream } from "./events.js";

const POLL = 2000;
/** Without an answer for so long what is shown is old. */
const PATIENCE = 6000;
/** How long one request may take. */
const TIMEOUT = 5000;
/** Rows are many, and a busy checker answers later. */
const ROWS_TIMEOUT = 20_000;
const ROWS = 5000;
/** The first answer is a short one: something to see. */
const FIRST_ROWS = 500;
const HISTORY = 300;

/**
 * @template T
 * @param {string} path
 * @param {number} [timeout]
 * @returns {Promise<T>}
 */
export async function get(path, timeout = TIMEOUT) {
  const response = await fetch(path, { signal: AbortSignal.timeout(timeout), cache: "no-store" });
  if (!response.ok) {
    const problem = await response.json().catch(() => null);
    throw new Error(problem?.error ?? `${path}: ${response.status}`, { cause: response.status });
  }
  return response.json();
}

export class Feed {
  #stream = new Stream((said) => this.#heard(said));
  /** Where the events are. */
  #position = "";
  #lastAnswer = 0;
  #lastLoad = 0;
  #isLoading = false;
  /** Whether rows are as old as a connection that was lost. */
  #isOld = true;
  /** Since when rows cannot be read; 0 while they can. */
  #unread = 0;
  #behind = 0;
  /** Where the events were at the answer before. */
  #before = "";
  /** Streams of events in a row that ended early. */
  #failures = 0;
  #differs = 0;
  /** @type {() => string[]} the ids on the screen */
  visible = () => [];
  /** Since when what is shown is old; null while it is not. @type {number | null} */
  lostSince = null;
  /** When what is shown was true. @type {number} */
  trueAt = 0;

  /**
   * @param {Model} model
   * @param {() => void} changed the model or the connection has changed
   */
  constructor(model, changed) {
    this.model = model;
    this.changed = changed;
    this.began = Date.now();
  }

  start() {
    this.#poll();
    setInterval(() => this.#watch(), 1000);
    document.addEventListener("visibilitychange", () => {
      // Timers stand still in the background: what was shown may be old.
      if (document.visibilityState === "visible") {
        if (!this.#stream.isOpen) this.#isOld = true;
        this.#watch();
        this.#status();
      } else if (!this.#stream.isShared) {
        // The few connections are for what is looked at.
        this.#stream.close();
      }
    });
    addEventListener("pageshow", (event) => {
      // It was put aside when another page came, and its stream ended.
      if (!event.persisted) return;
      this.#isOld = true;
      void this.#status();
    });
    addEventListener("offline", () => this.#lose());
  }

  /** Whether the first answer is still to come. */
  get isStarting() {
    return this.#lastAnswer === 0 && this.lostSince === null;
  }

  #watch() {
    const since = this.#lastAnswer || this.began;
    const isUnread = this.#unread !== 0 && Date.now() - this.#unread > PATIENCE;
    if (isUnread || Date.now() - since > PATIENCE) this.#lose();
    this.changed();
  }

  #lose() {
    if (this.lostSince !== null) return;
    this.lostSince = Date.now();
    this.trueAt = this.#unread || this.#lastAnswer;
    this.#isOld = true;
    this.#stream.close();
    this.changed();
  }

  async #poll() {
    for (;;) {
      await this.#status();
      await new Promise((resolve) => setTimeout(resolve, this.lostSince === null ? POLL : POLL / 2));
    }
  }

  async #status() {
    /** @type {Overview} */
    let overview;
    try {
      overview = await get("/api/v1/status");
    } catch {
      // Also an answer that makes no sense: something else listens there.
      this.#lose();
      return;
    }
    this.#lastAnswer = Date.now();
    if (overview.now) this.model.ahead = Date.parse(overview.now) - Date.now();
    this.model.overview = overview;
    const [epoch, sequence] = parts(overview.position);
    const [knownEpoch, known] = parts(this.#position);
    // A stream that is open and brings nothing is as bad as none. One that goes on is always a little behind.
    const isStill = this.#position === this.#before;
    this.#before = this.#position;
    this.#behind = epoch !== knownEpoch || (sequence > known && isStill && this.#stream.isOpen) ? this.#behind + 1 : 0;
    if (this.#position && (epoch !== knownEpoch || this.#behind > 2)) {
      this.#behind = 0;
      this.#isOld = true;
    }
    const counts = this.model.counts();
    const there = overview.checks;
    const differs = ["total", "healthy", "unhealthy", "unknown", "held"].some(
      (key) => /** @type {any} */ (counts)[key] !== /** @type {any} */ (there)[key],
    );
    this.#differs = differs ? this.#differs + 1 : 0;
    this.changed();
    const age = Date.now() - this.#lastLoad;
    const retry = 1000 * 2 ** Math.min(this.#failures, 5);
    if ((this.#isOld && age > retry) || age > this.#period() || (this.#differs > 1 && age > 5000)) {
      void this.#load();
    } else {
      await this.refresh();
    }
  }

  /** How often all rows are read. */
  #period() {
    const count = this.model.rows.length;
    return count <= 2000 ? 4000 : count <= 10_000 ? 15_000 : count <= 50_000 ? 40_000 : 90_000;
  }

  /** Reads all rows, then follows the events from where they began. */
  async #load() {
    if (this.#isLoading) return;
    this.#isLoading = true;
    try {
      let position = "";
      let after = "";
      this.model.begin();
      do {
        /** @type {Columns} */
        const columns = await get(`/api/v1/rows?limit=${this.model.rows.length ? ROWS : FIRST_ROWS}${after && `&after=${after}`}`, ROWS_TIMEOUT);
        position ||= columns.position;
        after = columns.next ?? "";
        this.model.take(columns, false);
        this.changed();
      } while (after);
      this.model.end();
      this.#lastLoad = Date.now();
      if (this.#isOld || !this.#stream.isOpen) {
        await this.#history(position);
        this.#position = position;
        if (this.#stream.isShared || !document.hidden) this.#stream.follow(position);
      }
      this.#isOld = false;
      this.#unread = 0;
      this.lostSince = null;
    } catch {
      // The next sign of life, or its absence, says what comes next. Signs of life alone make nothing true.
      this.#isOld = true;
      this.#unread ||= Date.now();
    } finally {
      this.#isLoading = false;
      this.changed();
    }
  }

  /** @param {string} position */
  async #history(position) {
    const [epoch, sequence] = parts(position);
    const after = `${epoch}-${Math.max(0, sequence - HISTORY)}`;
    /** @type {{ transitions: Transition[], resync?: boolean }} */
    let part = await get(`/api/v1/transitions?after=${after}&limit=${HISTORY}`);
    // A journal that is shorter than that.
    if (part.resync) part = await get(`/api/v1/transitions?limit=${HISTORY}`);
    this.model.history(part.transitions);
  }

  /** @param {Said} said */
  #heard({ name, id, data, isClosed }) {
    if (name === "open") {
      this.#failures = 0;
      return;
    }
    if (name === "error") {
      // The browser comes back by itself and goes on where it was, but not after an answer that is no stream.
      if (isClosed) this.#isOld = true;
      this.#failures += 1;
      void this.#status();
      return;
    }
    if (name === "resync") {
      this.#position = id;
      this.#isOld = true;
      return;
    }
    const [epoch, sequence] = parts(id);
    const [knownEpoch, known] = parts(this.#position);
    // The stream is that of other tabs, too: it may have begun before what is known here, or be of another process, which the
    // next status says.
    if (epoch !== knownEpoch || sequence <= known) return;
    this.#position = id;
    if (name === "transition") {
      this.model.change(JSON.parse(data));
      this.changed();
    } else {
      // It says nothing that the rows do not say, but is counted with the changes of health.
      void this.refresh();
    }
  }

  /** Reads the rows on the screen. */
  async refresh() {
    const ids = this.visible().slice(0, 200);
    if (!ids.length || this.lostSince !== null || document.hidden) return;
    try {
      /** @type {Columns} */
      const columns = await get(`/api/v1/rows?${ids.map((id) => `id=${id}`).join("&")}`);
      this.model.take(columns, true);
      this.changed();
    } catch {
      // The next sign of life says more.
    }
  }
}
