// Changes of health, and of one check those of overrides among them, newest first.

/** @import { Transition } from "./model.js" */
/** @import { Change } from "./overrides.js" */
import { checkLink, foreign, h } from "./dom.js";
import { MARK, STATE } from "./model.js";
import { changeWords } from "./overrides.js";
import { clock, instant } from "./words.js";

/**
 * What happened to a check.
 * @typedef {(Transition & { event: "transition" }) | (Change & { event: "override" })} Event
 */

/** @param {Event[]} list newest first, all of the check that is looked at */
export function timeline(list) {
  if (!list.length) return h("p", { class: "muted" }, "None since the checker started.");
  return h("ol", { class: "changes" }, ...list.map((event) => (event.event === "override" ? said(event) : one(event, null))));
}

/** @param {Change} change */
function said(change) {
  return h(
    "li",
    { "data-state": "said" },
    h("time", { datetime: change.time, title: instant(Date.parse(change.time)) }, clock(Date.parse(change.time))),
    h("span", { class: "mark", "aria-hidden": "true" }, "!"),
    h("div", {}, ...changeWords(change)),
  );
}

/**
 * @param {Transition[]} list newest first
 * @param {(name: string) => void} open
 */
export function transitions(list, open) {
  if (!list.length) return h("p", { class: "muted" }, "None since the checker started.");
  return h("ol", { class: "changes" }, ...list.map((transition) => one(transition, open)));
}

/**
 * @param {Transition} transition
 * @param {((name: string) => void) | null} open null: of the check that is looked at
 */
function one(transition, open) {
  const state = STATE[transition.to] ?? "unknown";
  const at = Date.parse(transition.time);
  const name = transition.name ?? transition.id;
  const who = open && checkLink(name, open);
  return h(
    "li",
    { "data-state": state },
    h("time", { datetime: transition.time, title: instant(at) }, clock(at)),
    h("span", { class: "mark", "aria-hidden": "true" }, MARK[state]),
    h("div", {}, h("p", {}, who, who && " ", h("strong", {}, state)), h("p", { class: "muted" }, foreign(transition.message))),
  );
}
