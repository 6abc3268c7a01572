// The checker itself: is it on time, and does everybody get what it finds?

/** @import { Child } from "./dom.js" */
/** @import { Model, Overview } from "./model.js" */
import { byId, foreign, h, refill, table } from "./dom.js";
import { draw, spark } from "./spark.js";
import { ownTrouble } from "./summary.js";
import { clock, number, plural, seconds, span } from "./words.js";

/** Points of a curve: two seconds each, five minutes. */
const POINTS = 150;

export class Checker {
  /** @type {{ at: number, started: number } | null} */
  #before = null;
  /** @type {number[]} */
  #rates = [];
  /** @type {number[]} */
  #inFlight = [];
  /** @type {number[]} */
  #heartbeats = [];
  #seen = "";

  /** @param {Model} model */
  constructor(model) {
    this.model = model;
  }

  /** Takes what the latest answer says into the curves. */
  collect() {
    const { overview } = this.model;
    const now = overview?.now;
    if (!overview || !now || now === this.#seen) return;
    this.#seen = now;
    const at = Date.parse(now);
    const { started, in_flight } = overview.probes;
    if (this.#before && started >= this.#before.started && at > this.#before.at) {
      push(this.#rates, (1000 * (started - this.#before.started)) / (at - this.#before.at));
    }
    this.#before = { at, started };
    push(this.#inFlight, in_flight);
    push(this.#heartbeats, Math.max(0, ...overview.shards.map((shard) => at - Date.parse(shard.heartbeat))));
  }

  draw() {
    const { overview } = this.model;
    if (!overview) return;
    refill(byId("checker"), ...this.#parts(overview));
  }

  /**
   * @param {Overview} overview
   * @returns {Child[]}
   */
  #parts(overview) {
    const { probes, source, recent } = overview;
    const latest = recent ?? probes;
    const { lateness } = recent ?? overview;
    const since = recent ? "in the last minute" : "since the start";
    const now = this.model.now();
    const trouble = ownTrouble(this.model);
    return [
      h("h2", { tabindex: "-1" }, "The checker itself"),
      trouble.length
        ? h("ul", { class: "reasons trouble" }, ...trouble.map((line) => h("li", {}, foreign(line))))
        : h("p", {}, "Nothing is wrong with it: probes begin on time, and everybody gets what they find."),
      h(
        "div",
        { class: "tiles" },
        tile("probes a second", rate(this.#rates.at(-1)), this.#rates),
        tile("probes that run now", number(probes.in_flight), this.#inFlight),
        tile("oldest turn of a thread", span0(this.#heartbeats.at(-1) ?? 0), this.#heartbeats),
        tile(`began late, 99 of 100, ${since}`, `≤ ${seconds(lateness.p99_seconds)}`, null, `half ≤ ${seconds(lateness.p50_seconds)}, the latest ${seconds(lateness.max_seconds)}; since the start ${seconds(overview.lateness.max_seconds)}`),
        tile(`said nothing, because of us, ${since}`, number(latest.inconclusive), null, `of ${plural(latest.started, "probe")}; since the start ${number(probes.inconclusive)} of ${number(probes.started)}`),
        tile(`stalls of our own threads, ${since}`, number(latest.stalls), null, `${seconds(latest.stalled_seconds)} in all; since the start ${number(probes.stalls)}, ${seconds(probes.stalled_seconds)} in all`),
      ),
      h("h3", {}, "Threads that run probes"),
      table(
        "Threads that run probes",
        ["thread", "checks", "run now", "wait", "busy", "began late, 99 of 100", "last turn", "state"],
        overview.shards.map((shard) => [
          number(shard.shard),
          number(shard.checks),
          number(shard.in_flight),
          shard.waiting === undefined ? "–" : number(shard.waiting),
          shard.busy === undefined ? "–" : `${Math.round(shard.busy * 100)} %`,
          shard.lateness === undefined ? "–" : `≤ ${seconds(shard.lateness.p99_seconds)}`,
          `${span(now - Date.parse(shard.heartbeat))} ago`,
          shard.stuck ? h("strong", { class: "trouble" }, "hangs") : "on time",
        ]),
      ),
      h("h3", {}, "Who gets what it finds"),
      overview.sinks.length
        ? table(
            "Who gets what it finds",
            ["consumer", "waits for it", "oldest", "batches taken", "failed", "last error"],
            overview.sinks.map((sink) => [
              foreign(sink.name),
              number(sink.pending),
              sink.oldest_pending_seconds === undefined ? "–" : span(sink.oldest_pending_seconds * 1000),
              number(sink.delivered),
              number(sink.failed),
              sink.last_error ? foreign(`${sink.failures_in_a_row ? "now: " : "earlier: "}${sink.last_error}`) : "–",
            ]),
          )
        : h("p", { class: "muted" }, "Nobody: no consumer is configured."),
      h("h3", {}, "Where checks come from"),
      h(
        "p",
        {},
        source.applied_at
          ? `${plural(source.applied, "set")} of checks took effect, the latest at ${clock(Date.parse(source.applied_at))}, ${span(now - Date.parse(source.applied_at))} ago; ${source.rejected ? plural(source.rejected, "check") : "none"} of it ${source.rejected > 1 ? "were" : "was"} rejected.`
          : "No set of checks has arrived yet.",
      ),
      h("p", { class: "muted" }, `hc-server ${overview.version} on `, foreign(overview.node), `, started ${clock(Date.parse(overview.started_at))}, ${span(now - Date.parse(overview.started_at))} ago.`),
    ];
  }
}

/**
 * @param {number[]} curve
 * @param {number} point
 */
function push(curve, point) {
  curve.push(point);
  if (curve.length > POINTS) curve.shift();
}

/** @param {number | undefined} value */
function rate(value) {
  if (value === undefined) return "–";
  return value < 10 ? value.toFixed(1) : number(Math.round(value));
}

/** @param {number} ms */
function span0(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : span(ms);
}

/**
 * @param {string} title
 * @param {string} value
 * @param {number[] | null} curve
 * @param {string} [more]
 */
function tile(title, value, curve, more) {
  const drawing = curve && spark(220, 34);
  if (drawing && curve) draw(drawing, curve);
  return h("div", { class: "tile" }, h("p", { class: "muted" }, title), h("p", { class: "value" }, value), drawing, more && h("p", { class: "muted" }, more));
}
