// Changes of health, newest first.

/** @import { Transition } from "./model.js" */
import { foreign, h } from "./dom.js";
import { MARK, STATE } from "./model.js";
import { clock, instant } from "./words.js";

/**
 * @param {Transition[]} list newest first
 * @param {((name: string) => void) | null} open null: all are of the check that is looked at
 */
export function transitions(list, open) {
  if (!list.length) return h("p", { class: "muted" }, "None since the checker started.");
  return h("ol", { class: "changes" }, ...list.map((transition) => one(transition, open)));
}

/**
 * @param {Transition} transition
 * @param {((name: string) => void) | null} open
 */
function one(transition, open) {
  const state = STATE[transition.to] ?? "unknown";
  const at = Date.parse(transition.time);
  const name = transition.name ?? transition.id;
  const who = open && h("a", { href: `?check=${encodeURIComponent(name)}`, class: "name", click: go }, foreign(name));
  /** @param {MouseEvent} event */
  function go(event) {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    open?.(name);
  }
  return h(
    "li",
    { "data-state": state },
    h("time", { datetime: transition.time, title: instant(at) }, clock(at)),
    h("span", { class: "mark", "aria-hidden": "true" }, MARK[state]),
    h("div", {}, h("p", {}, who, who && " ", h("strong", {}, state)), h("p", { class: "muted" }, foreign(transition.message))),
  );
}
