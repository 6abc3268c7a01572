// One check: how it is, why, what comes next, and how to try it by hand.

/** @import { Feed } from "./feed.js" */
/** @import { Model } from "./model.js" */
/** @import { Child } from "./dom.js" */
/** @import { Event } from "./changes.js" */
import { timeline } from "./changes.js";
import { byId, command, foreign, h, refill } from "./dom.js";
import { get } from "./feed.js";
import { MARK, STATE } from "./model.js";
import { overrideWords } from "./overrides.js";
import { draw, inWords, spark } from "./spark.js";
import { clock, instant, number, plural, seconds, setting, shell, span } from "./words.js";

/**
 * A probe that failed.
 * @typedef {object} Probe
 * @property {string} time
 * @property {number} duration_seconds
 * @property {string} reason
 * @property {string} message
 * @property {string} rule
 * @property {Record<string, number>} phases_seconds
 * @property {{ offset: number, expected: string, got: string }} [differs]
 * @property {string} [answer]
 * @property {{ version: string, cipher: string, subject: string, issuer: string, not_after?: string }} [tls]
 */

/**
 * The answer of /api/v1/checks/CHECK.
 * @typedef {object} Detail
 * @property {string} id
 * @property {string} [name]
 * @property {Record<string, string>} [labels]
 * @property {string} type
 * @property {string} target
 * @property {string[]} [addresses]
 * @property {string} [resolve]
 * @property {string} [backend]
 * @property {string} [mode]
 * @property {number} [mark]
 * @property {string} health
 * @property {string} [since]
 * @property {string} [last_check]
 * @property {number} duration_seconds
 * @property {number} interval_seconds
 * @property {number} timeout_seconds
 * @property {number} retries
 * @property {number} [rise]
 * @property {number} [fast_interval_seconds]
 * @property {number} [down_interval_seconds]
 * @property {number} [failures_in_a_row]
 * @property {number} [passes_in_a_row]
 * @property {number} [failures_needed]
 * @property {number} [passes_needed]
 * @property {string} [next_check]
 * @property {number} failures
 * @property {number} successes
 * @property {string} [message]
 * @property {string} [warning]
 * @property {{ reason: string, message: string, since: string }} [held]
 * @property {string[]} [depends_on]
 * @property {{ health?: string, by: string }} [reported]
 * @property {import("./overrides.js").Override[]} [overrides]
 * @property {string[]} explanation
 * @property {{ latest_seconds: Record<string, number>, mean_seconds: number, max_seconds: number, connection?: string }} [latency]
 * @property {Probe} [last_failure]
 * @property {string[]} own_trouble
 * @property {{ command: string, note?: string }[]} reproduce
 * @property {Event[]} timeline
 */

export class Check {
  #box = byId("check");
  #name = "";
  #shown = "";
  /** When it was read. */
  #read = 0;
  #error = "";

  /**
   * @param {Model} model
   * @param {Feed} feed
   */
  constructor(model, feed) {
    this.model = model;
    this.feed = feed;
  }

  /**
   * Shows a check; what is there is kept while it is the same one.
   * @param {string} name
   */
  async show(name) {
    if (this.#name !== name) {
      this.#name = name;
      this.#shown = "";
      this.#error = "";
      this.#box.replaceChildren(h("h2", { tabindex: "-1" }, foreign(name)), h("p", { class: "muted" }, "Reading…"));
    } else if (Date.now() - this.#read < 1500) {
      return;
    }
    this.#read = Date.now();
    try {
      /** @type {Detail} */
      const detail = await get(`/api/v1/checks/${encodeURIComponent(name)}`);
      if (this.#name !== name) return;
      this.#error = "";
      // Drawn when it has changed, and for the ages in it every ten seconds; not while somebody marks a text.
      const shown = `${JSON.stringify(detail)} ${this.feed.lostSince} ${Math.floor(Date.now() / 10_000)}`;
      if (shown === this.#shown || getSelection()?.type === "Range") return;
      this.#shown = shown;
      this.#draw(detail);
    } catch (error) {
      if (this.#name !== name || this.feed.lostSince !== null) return;
      const words = error instanceof Error ? error.message : String(error);
      if (words === this.#error) return;
      this.#error = words;
      this.#shown = "";
      this.#box.replaceChildren(h("h2", { tabindex: "-1" }, foreign(name)), h("p", { class: "trouble" }, foreign(words)));
    }
  }

  /** No check is looked at. */
  leave() {
    this.#name = "";
    this.#shown = "";
  }

  /** @param {Detail} detail */
  #draw(detail) {
    const now = this.model.now();
    const title = detail.name ?? detail.id;
    const state = detail.held && detail.health !== "unhealthy" ? "held" : (STATE[detail.health] ?? "unknown");
    const since = detail.since ? `since ${clock(Date.parse(detail.since))}, ${span(now - Date.parse(detail.since))}` : "";
    const labels = Object.entries(detail.labels ?? {}).map(([key, value]) => h("span", { class: "tag" }, foreign(`${key}=${value}`)));
    refill(
      this.#box,
      h(
        "header",
        { class: "check-head", "data-state": state },
        h("span", { class: "mark", "aria-hidden": "true" }, MARK[state]),
        h("h2", { tabindex: "-1" }, foreign(title)),
        h("p", {}, h("strong", {}, h("span", { class: "live-only" }, state), h("span", { class: "lost-only" }, `was ${state}`)), " ", since),
        detail.warning && h("p", { class: "warning" }, h("strong", {}, "Warning: "), foreign(detail.warning)),
        h("p", { class: "muted" }, foreign(`${detail.type} ${detail.target}`), " ", ...labels),
      ),
      h(
        "div",
        { class: "columns" },
        h(
          "div",
          {},
          section("Why, and what comes next", h("ul", { class: "reasons" }, ...detail.explanation.map((line) => h("li", {}, foreign(line))))),
          detail.own_trouble.length > 0 &&
            section("The checker’s own machine is in trouble", h("ul", { class: "reasons trouble" }, ...detail.own_trouble.map((line) => h("li", {}, foreign(line))))),
          this.#overrides(detail),
          detail.last_failure && failure(detail.last_failure, now),
          this.#commands(detail, title),
        ),
        h("div", {}, this.#latency(detail), progress(detail), facts(detail, now), section("Its last changes", timeline(detail.timeline.toReversed()))),
      ),
    );
  }

  /** @param {Detail} detail */
  #latency(detail) {
    const samples = this.model.byId.get(detail.id)?.samples ?? [];
    const drawing = spark(440, 72);
    drawing.classList.add("large");
    draw(drawing, samples);
    /** @type {Child} */
    let phases = null;
    if (detail.latency) {
      const named = Object.entries(detail.latency.latest_seconds);
      const all = named.reduce((sum, [, value]) => sum + value, 0) || 1;
      phases = h(
        "dl",
        { class: "phases" },
        ...named.flatMap(([name, value]) => {
          const bar = h("span", { class: "bar" });
          bar.style.width = `${Math.max(1, (100 * value) / all)}%`;
          return [h("dt", {}, PHASES[name] ?? name), h("dd", {}, h("span", { class: "track" }, bar), h("span", { class: "figure" }, seconds(value)))];
        }),
      );
    }
    return section(
      "How long probes take",
      detail.latency
        ? h("p", {}, `${seconds(detail.latency.mean_seconds)} on average, ${seconds(detail.latency.max_seconds)} at most since the check began, allowed are ${setting(detail.timeout_seconds)}.${KEPT[detail.latency.connection ?? ""] ?? ""}`)
        : h("p", { class: "muted" }, "No probe has ended yet."),
      drawing,
      h("p", { class: "muted" }, samples.length ? inWords(samples) : ""),
      phases,
    );
  }

  /** @param {Detail} detail */
  #overrides(detail) {
    if (!detail.overrides?.length) return null;
    const now = this.model.now();
    return section("What operators say", h("ul", { class: "reasons" }, ...detail.overrides.map((order) => h("li", {}, overrideWords(order, now)))));
  }

  /**
   * @param {Detail} detail
   * @param {string} title
   */
  #commands(detail, title) {
    const name = shell(title);
    return section(
      "Try it by hand",
      ...detail.reproduce.map((one) => command(one.command, one.note)),
      command(`hcctl explain ${name}`, "All of this page in a terminal:"),
      command(`hcctl run ${name}`, "A probe now, by the server; its result counts:"),
      command(`hcctl mute ${name} --for 30m --reason "…"`, "Keep what consumers have for half an hour. This page changes nothing:"),
    );
  }
}

/** @type {Record<string, string>} */
const KEPT = { resumed: " The latest one resumed a TLS session.", reused: " The latest one went over a kept connection." };

/** @type {Record<string, string>} */
const PHASES = { connect: "connect", tls: "TLS", send: "send", first_byte: "first byte", response: "response" };

/**
 * @param {string} title
 * @param {...Child} children
 */
function section(title, ...children) {
  return h("section", {}, h("h3", {}, title), ...children);
}

/**
 * The way to the next verdict.
 * @param {Detail} detail
 */
function progress(detail) {
  const isUp = detail.health === "healthy";
  const need = isUp ? detail.retries + 1 : (detail.rise ?? 1);
  const done = (isUp ? detail.failures_in_a_row : detail.passes_in_a_row) ?? 0;
  if (detail.health === "unknown" || need > 12) return null;
  const dots = Array.from({ length: need }, (_, index) => h("span", { class: index < done ? "dot full" : "dot" }));
  const what = isUp ? `${plural(need, "failure")} in a row make it down; it has ${number(Math.min(done, need))}` : `${plural(need, "pass", "passes")} in a row ${need === 1 ? "makes" : "make"} it up; it has ${number(Math.min(done, need))}`;
  return section(isUp ? "On the way down" : "On the way up", h("p", { class: "progress", "data-state": isUp ? "down" : "up" }, h("span", { class: "dots", "aria-hidden": "true" }, ...dots), what));
}

/**
 * @param {Detail} detail
 * @param {number} now
 */
function facts(detail, now) {
  /** @type {[string, string | undefined | false][]} */
  const rows = [
    ["id", detail.id],
    ["addresses", detail.addresses?.join(", ")],
    ["resolve", detail.resolve && `${detail.resolve} of these must pass`],
    ["backend", detail.backend],
    ["mode", detail.mode],
    ["mark", detail.mark === undefined ? undefined : String(detail.mark)],
    ["interval", `${setting(detail.interval_seconds)}${detail.fast_interval_seconds ? `, ${setting(detail.fast_interval_seconds)} while it changes` : ""}${detail.down_interval_seconds ? `, ${setting(detail.down_interval_seconds)} while down` : ""}`],
    ["timeout", setting(detail.timeout_seconds)],
    ["depends on", detail.depends_on?.join(", ")],
    ["last probe", detail.last_check && `${clock(Date.parse(detail.last_check))}, took ${seconds(detail.duration_seconds)}`],
    ["next probe", detail.next_check && clock(Date.parse(detail.next_check))],
    ["probes", `${number(detail.successes)} passed, ${number(detail.failures)} failed`],
    ["held", detail.held && `${detail.held.message}, for ${span(now - Date.parse(detail.held.since))}`],
    ["consumers get", detail.reported ? `${detail.reported.health ?? "nothing"}, because of: ${detail.reported.by}` : detail.health === "unknown" ? "nothing yet" : detail.health],
  ];
  return section("Facts", h("dl", { class: "facts" }, ...rows.flatMap(([key, value]) => (value ? [h("dt", {}, key), h("dd", {}, foreign(value))] : []))));
}

/**
 * @param {Probe} probe
 * @param {number} now
 */
function failure(probe, now) {
  const at = Date.parse(probe.time);
  /** @type {Child[]} */
  const parts = [
    h("p", {}, h("strong", {}, foreign(probe.message))),
    h("p", { class: "muted", title: instant(at) }, `${clock(at)}, ${span(now - at)} ago, after ${seconds(probe.duration_seconds)}. `, probe.rule),
  ];
  const phases = Object.entries(probe.phases_seconds);
  if (phases.length) {
    parts.push(h("p", {}, "It came to: ", phases.map(([name, value]) => `${PHASES[name] ?? name} ${seconds(value)}`).join(", "), "."));
  }
  if (probe.differs) {
    parts.push(
      h("dl", { class: "facts" }, h("dt", {}, `expected from byte ${probe.differs.offset}`), h("dd", {}, h("code", {}, foreign(probe.differs.expected))), h("dt", {}, "got"), h("dd", {}, h("code", {}, foreign(probe.differs.got)))),
    );
  }
  if (probe.tls) {
    const { tls } = probe;
    /** @type {[string, string | undefined][]} */
    const rows = [
      ["TLS", [tls.version, tls.cipher].filter(Boolean).join(", ")],
      ["certificate", tls.subject],
      ["signed by", tls.issuer],
      ["expires", tls.not_after],
    ];
    parts.push(h("dl", { class: "facts" }, ...rows.flatMap(([key, value]) => (value ? [h("dt", {}, key), h("dd", {}, foreign(value))] : []))));
  }
  if (probe.answer) {
    parts.push(h("h4", {}, "What the backend answered"), h("pre", { tabindex: "0", "aria-label": "What the backend answered" }, foreign(probe.answer)));
  }
  return section("The latest failure", ...parts);
}

