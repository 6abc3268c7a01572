// The stream of events, one for all tabs of a browser.
//
// Over HTTP/1.1 a browser opens six connections to a server, and a stream holds one for as long as it lasts. With a stream for
// each tab the seventh tab would wait for ever. So a worker that all tabs share has the only one. Where a browser has no such
// workers each tab has its own, and none while it is in the background.

/**
 * What a stream says.
 * @typedef {object} Said
 * @property {"transition" | "override" | "resync" | "open" | "error"} name
 * @property {string} id where the events are behind it
 * @property {string} data
 * @property {boolean} isClosed of an error: the browser does not come back by itself
 */

/** @typedef {(said: Said) => void} Hear */

/**
 * @param {string} position `EPOCH-SEQUENCE`; the epoch has more digits than a number
 * @returns {[string, number]}
 */
export function parts(position) {
  const [epoch = "", sequence = "0"] = position.split("-");
  return [epoch, Number(sequence)];
}

/**
 * @param {string} after
 * @param {Hear} hear
 */
export function listen(after, hear) {
  const events = new EventSource(`/api/v1/events?after=${encodeURIComponent(after)}`);
  for (const name of /** @type {const} */ (["transition", "override", "resync"])) {
    events.addEventListener(name, (event) => hear({ name, id: event.lastEventId, data: event.data, isClosed: false }));
  }
  events.addEventListener("open", () => hear({ name: "open", id: "", data: "", isClosed: false }));
  events.addEventListener("error", () => hear({ name: "error", id: "", data: "", isClosed: events.readyState === EventSource.CLOSED }));
  return events;
}

/** The worker, by a name that changes with what is said to it: that of another version may run still. */
const WORKER = "hc-events-2";

export class Stream {
  /** @type {MessagePort | null} */
  #port = null;
  /** @type {EventSource | null} */
  #own = null;
  /** Behind what the worker was asked for the events. */
  #after = "";
  /** Requests that the worker has not taken yet: what comes before is of the stream before. */
  #asked = 0;
  isOpen = false;

  /** @param {Hear} hear hears of nothing after `close` */
  constructor(hear) {
    this.hear = hear;
    try {
      const { trustedTypes } = /** @type {any} */ (globalThis);
      const address = "/page/worker.js";
      const policy = trustedTypes?.createPolicy("hc-worker", { createScriptURL: () => address });
      const worker = new SharedWorker(policy?.createScriptURL("") ?? address, { name: WORKER, type: "module" });
      worker.addEventListener("error", () => this.#alone());
      this.#port = worker.port;
      this.#port.addEventListener("message", (event) => {
        if (event.data === null) this.#asked -= 1;
        else if (this.isOpen && !this.#asked) this.hear(event.data);
      });
      this.#port.start();
      // The worker does not hear of tabs that end.
      addEventListener("pagehide", () => this.#port?.postMessage(null));
    } catch {
      // A browser without shared workers, or one that may not start them.
    }
  }

  /** Whether one stream serves all tabs. */
  get isShared() {
    return this.#port !== null;
  }

  /** The worker cannot be had. */
  #alone() {
    this.#port = null;
    if (this.isOpen) this.follow(this.#after);
  }

  /**
   * Hears of what comes behind this position. Some of what came before it may come once more.
   * @param {string} after
   */
  follow(after) {
    this.isOpen = true;
    this.#after = after;
    this.#own?.close();
    this.#own = null;
    // It has not even answered the last time: it is dead.
    if (this.#asked) this.#port = null;
    if (this.#port) {
      this.#asked += 1;
      this.#port.postMessage(after);
    } else {
      const own = listen(after, (said) => {
        if (this.#own === own) this.hear(said);
      });
      this.#own = own;
    }
  }

  close() {
    this.isOpen = false;
    this.#own?.close();
    this.#own = null;
    this.#port?.postMessage(null);
  }
}
