// Is something wrong, and is it us? The answer in one look.

/** @import { Feed } from "./feed.js" */
/** @import { Model } from "./model.js" */
/** @import { Show } from "./query.js" */
import { byId, h, setAttribute, setText } from "./dom.js";
import { clock, number, plural, seconds, span } from "./words.js";

/**
 * What is wrong with the checker itself, the worst first.
 * @param {Model} model
 * @returns {string[]}
 */
export function ownTrouble(model) {
  const { overview } = model;
  if (!overview) return [];
  const lines = [...overview.reasons, ...(overview.warnings ?? [])];
  const { rejected } = overview.source;
  if (rejected) lines.push(`${plural(rejected, "check")} of the latest set ${rejected === 1 ? "was" : "were"} rejected`);
  for (const sink of overview.sinks) {
    const waits = sink.oldest_pending_seconds ?? 0;
    if (waits > 10 && !sink.failures_in_a_row) {
      lines.push(`${sink.name} has not taken ${plural(sink.pending, "change")} for ${span(waits * 1000)}`);
    }
  }
  if (overview.probes.waiting) {
    lines.push(`${plural(overview.probes.waiting, "probe")} wait: too many run at once`);
  }
  return lines;
}

/**
 * @param {Model} model
 * @param {Feed} feed
 */
export function showSummary(model, feed) {
  const { overview } = model;
  const isLost = feed.lostSince !== null;
  document.documentElement.toggleAttribute("data-lost", isLost);
  const link = byId("link");
  const age = feed.trueAt ? span(Date.now() - feed.trueAt) : "";
  if (isLost) {
    setText(link, "connection lost");
    setAttribute(link, "data-state", "lost");
  } else if (!overview) {
    setText(link, "connecting");
    setAttribute(link, "data-state", "wait");
  } else {
    setText(link, "live");
    setAttribute(link, "data-state", "live");
  }
  const notice = byId("notice");
  notice.hidden = !isLost;
  if (isLost) {
    const old = feed.trueAt ? `What you see was true at ${clock(feed.trueAt)}, ${age} ago, and may be wrong now.` : "Nothing is known yet.";
    setText(notice, `No answer from hc-server. ${old} Trying again every second.`);
  }
  if (!overview) return;
  // The rows are newer than the answer before; as long as not all of them are here they say less.
  const counts = model.counts();
  const checks = model.complete ? counts : overview.checks;
  const services = byId("services");
  const headline = byId("services-headline");
  const word = isLost ? "were" : "are";
  if (!checks.total) {
    setAttribute(services, "data-state", "unknown");
    setText(headline, "No checks yet");
  } else if (checks.unhealthy) {
    setAttribute(services, "data-state", "down");
    setText(headline, checks.unhealthy === 1 ? `1 check ${isLost ? "was" : "is"} down` : `${number(checks.unhealthy)} checks ${word} down`);
  } else if (checks.held) {
    setAttribute(services, "data-state", "held");
    setText(headline, `${plural(checks.held, "check")} held: their health is the last that was known`);
  } else if (checks.unknown) {
    setAttribute(services, "data-state", "unknown");
    setText(headline, `${plural(checks.unknown, "check")} without a verdict yet`);
  } else {
    setAttribute(services, "data-state", "up");
    setText(headline, `All ${plural(checks.total, "check")} ${word} up`);
  }
  const parts = [`of ${number(checks.total)}`];
  if (checks.held) parts.push(`${number(checks.held)} held`);
  if (checks.unknown) parts.push(`${number(checks.unknown)} without a verdict`);
  if (overview.overrides) parts.push(plural(overview.overrides, "override"));
  if (overview.dependents_held) parts.push(`${number(overview.dependents_held)} behind a gateway that is down`);
  if (overview.checks.warned) parts.push(`${number(overview.checks.warned)} with a warning`);
  if (counts.guarded) parts.push(`${number(counts.guarded)} held back by the guard`);
  if (!model.complete) parts.push(`${number(model.rows.length)} read so far`);
  setText(byId("services-more"), parts.join(" · "));
  const total = Math.max(1, checks.total);
  for (const [id, count] of /** @type {[string, number][]} */ ([
    ["bar-down", checks.unhealthy],
    ["bar-held", Math.min(checks.held, checks.total - checks.unhealthy)],
    ["bar-unknown", checks.unknown],
  ])) {
    // What there is must be seen, be it one of a hundred thousand.
    byId(id).style.width = count ? `max(3px, ${(100 * count) / total}%)` : "0";
  }
  const trouble = ownTrouble(model);
  const checker = byId("checker-panel");
  setAttribute(checker, "data-state", trouble.length ? (overview.ready ? "held" : "down") : "up");
  const is = isLost ? "was" : "is";
  const well = !trouble.length ? `The checker ${is} well` : overview.ready ? `The checker ${is} at work, but` : `The checker ${is} in trouble`;
  setText(byId("checker-headline"), well);
  const list = byId("checker-more");
  const recent = (overview.recent ?? overview).lateness;
  const late = `probes begin ${seconds(recent.p99_seconds)} late at most (99 of 100) · ${plural(overview.shards.length, "thread")} · up ${span(model.now() - Date.parse(overview.started_at))}`;
  const lines = trouble.length ? trouble.slice(0, 4) : [late];
  if (trouble.length > 4) lines.push(`and ${trouble.length - 4} more`);
  if ([...list.children].map((child) => child.textContent).join("\n") !== lines.join("\n")) {
    list.replaceChildren(...lines.map((line) => h("li", {}, line)));
  }
  setText(byId("node"), overview.node);
  const down = checks.unhealthy ? `${number(checks.unhealthy)} down` : checks.held ? `${number(checks.held)} held` : "all up";
  document.title = isLost ? `lost · ${overview.node}` : `${trouble.length && !overview.ready ? "! " : ""}${down} · ${overview.node}`;
}

/** The filters, with how many checks each takes. @type {[Show | "", string][]} */
const CHIPS = [
  ["", "All"],
  ["down", "Down"],
  ["held", "Held"],
  ["unknown", "Unknown"],
  ["up", "Up"],
  ["override", "Overridden"],
  ["differs", "Reported otherwise"],
  ["warned", "With a warning"],
];

/**
 * @param {Model} model
 * @param {Show | ""} shown
 * @param {(show: Show | "") => void} choose
 */
export function showChips(model, shown, choose) {
  const box = byId("chips");
  if (!box.children.length) {
    for (const [show, word] of CHIPS) {
      const button = h("button", { type: "button", class: "chip", "data-show": show || "all", click: () => choose(show) });
      button.append(h("span", {}, word), h("b", {}));
      box.append(button);
    }
  }
  const counts = model.counts();
  const of = [counts.total, counts.unhealthy, counts.held, counts.unknown, counts.healthy, counts.overridden, counts.differs, counts.warned];
  [...box.children].forEach((button, index) => {
    const chip = CHIPS[index];
    const count = of[index] ?? 0;
    const number_ = button.lastElementChild;
    if (!chip || !number_) return;
    setText(number_, number(count));
    setAttribute(button, "aria-pressed", String(shown === chip[0]));
    button.toggleAttribute("data-none", count === 0);
    // These are rare; the room is better used.
    /** @type {HTMLElement} */ (button).hidden = index > 4 && count === 0 && shown !== chip[0];
  });
}
