// What operators say of checks: who, why, until when.

/** @import { Child } from "./dom.js" */
/** @import { Model } from "./model.js" */
import { checkLink, command, foreign, h, table } from "./dom.js";
import { clock, number, shell, span } from "./words.js";

/**
 * @typedef {object} Override
 * @property {string} check
 * @property {string[]} [ids]
 * @property {"force" | "mute" | "pause"} kind
 * @property {string} [health]
 * @property {boolean} active
 * @property {string} reason
 * @property {string} by
 * @property {string} asked_at
 * @property {string} from
 * @property {string} [until]
 * @property {string} [weekly]
 * @property {string} [next_change]
 */

/**
 * What happened to an override.
 * @typedef {object} Change
 * @property {string} time
 * @property {"set" | "opened" | "closed" | "withdrawn" | "expired"} change
 * @property {Override} override as it is after that
 * @property {string} [ended_by]
 */

/** The command that ends each kind. */
const END = { force: "unforce", mute: "unmute", pause: "resume" };

/** @param {Override} order */
function word(order) {
  if (order.kind === "force") return `forced ${order.health ?? ""}`.trim();
  return order.kind === "mute" ? "muted" : "paused";
}

/**
 * @param {Override} order
 * @param {number} now
 */
function until(order, now) {
  if (order.weekly) return `each week ${order.weekly}`;
  if (!order.until) return "until somebody ends it";
  const at = Date.parse(order.until);
  return `until ${clock(at)}${at > now ? `, ${span(at - now)} more` : ""}`;
}

/**
 * @param {Override} order
 * @param {number} now
 * @returns {Child}
 */
export function overrideWords(order, now) {
  const begin = order.active ? "" : `not at present${order.next_change ? `, again at ${clock(Date.parse(order.next_change))}` : ""}: `;
  return h("span", {}, begin, h("strong", {}, word(order)), ` by `, foreign(order.by), `, ${until(order, now)}: `, foreign(order.reason));
}

/**
 * Two lines: what has changed, and who said it and why.
 * @param {Change} change
 * @returns {Child[]}
 */
export function changeWords(change) {
  const order = change.override;
  const is = word(order);
  const length = order.weekly ? `each week ${order.weekly}` : order.until ? `until ${clock(Date.parse(order.until))}` : "until somebody ends it";
  const from = change.change === "set" && !order.active && !order.weekly ? `from ${clock(Date.parse(order.from))} ` : "";
  const what = { set: `${is} ${from}${length}`, opened: `${is} from now on, ${length}`, closed: `no longer ${is}, until the next window`, expired: `no longer ${is}: expired`, withdrawn: `no longer ${is}: ended by ` };
  const by = change.change === "withdrawn" ? foreign(change.ended_by ?? "somebody") : null;
  return [h("p", {}, h("strong", {}, foreign(what[change.change] ?? `${is}: ${change.change}`), by)), h("p", { class: "muted" }, change.change === "set" ? "by " : `${is} by `, foreign(order.by), ": ", foreign(order.reason))];
}

/**
 * @param {Override[]} list
 * @param {Model} model
 * @param {(name: string) => void} open
 * @returns {Child[]}
 */
export function overridesPage(list, model, open) {
  const now = model.now();
  const note = h("p", { class: "muted" }, "This page changes nothing: overrides are set and ended over the server’s Unix socket, by these commands on its machine.");
  const how = [
    command('hcctl force down CHECK --for 1h --reason "…"', "Consumers get this health, whatever probes find:"),
    command('hcctl mute CHECK --for 1h --reason "…"', "Consumers keep what they have; probes go on:"),
    command('hcctl pause CHECK --for 1h --reason "…"', "No probe begins:"),
  ];
  if (!list.length) return [h("p", {}, "No override stands or is planned."), note, ...how];
  const rows = list.map((order) => {
    const running = order.ids?.length ?? 0;
    const checks = running ? checkLink(order.check, open) : foreign(order.check);
    const end = `hcctl ${END[order.kind]} ${shell(order.check)}`;
    return [
      h("strong", { class: order.active ? "" : "muted" }, word(order), order.active ? "" : " (not at present)"),
      h("span", {}, checks, running > 1 ? ` (${number(running)} checks)` : running ? "" : " (does not run)"),
      foreign(order.reason),
      h("span", {}, foreign(order.by), ` at ${clock(Date.parse(order.asked_at))}`),
      until(order, now),
      h("code", {}, end),
    ];
  });
  return [table("Overrides", ["what", "check", "why", "who", "until", "ended by"], rows), note, ...how];
}
