// The page: what is looked at, and the keys.

/** @import { Query, View } from "./query.js" */
/** @import { Override } from "./overrides.js" */
import { transitions } from "./changes.js";
import { Check } from "./check.js";
import { Checker } from "./checker.js";
import { byId, h, isPlain, refill, setText } from "./dom.js";
import { Feed, get } from "./feed.js";
import { Heat } from "./heat.js";
import { List } from "./list.js";
import { Model } from "./model.js";
import { overridesPage } from "./overrides.js";
import { fromAddress, Selection, toAddress, VIEWS } from "./query.js";
import { showChips, showSummary } from "./summary.js";

const model = new Model();
const feed = new Feed(model, changed);
const selection = new Selection(model);
const list = new List(model, feed, selection, open);
const heat = new Heat(model, feed, selection, open);
const check = new Check(model, feed);
const checker = new Checker(model);
let query = fromAddress();

/** A part of the page with what it showed last. @type {Map<string, string>} */
const drawn = new Map();

/**
 * Draws a part if what it shows has changed.
 * @param {string} part
 * @param {string} state
 * @param {() => void} draw
 */
function once(part, state, draw) {
  if (drawn.get(part) === state) return;
  drawn.set(part, state);
  draw();
}

let drawings = 0;
let isDue = false;
let isUntitled = false;
let latest = 0;
/** With many checks a drawing is some milliseconds of work: not more often than that is seen. */
const PAUSE = 100;

/** The model, the connection or the time of day has changed. */
function changed() {
  // Browsers draw nothing in the background, but the title of the tab must say how things are.
  if (document.hidden && !isUntitled) {
    isUntitled = true;
    setTimeout(() => {
      isUntitled = false;
      showSummary(model, feed);
    }, PAUSE);
  }
  if (isDue) return;
  isDue = true;
  setTimeout(() => requestAnimationFrame(frame), Math.max(0, latest + PAUSE - performance.now()));
}

function frame() {
  isDue = false;
  latest = performance.now();
  show();
}

function show() {
  performance.mark("hc-show");
  checker.collect();
  showSummary(model, feed);
  const view = query.check ? "check" : query.view;
  for (const name of [...VIEWS, "check"]) byId(`view-${name}`).hidden = name !== view;
  for (const link of document.querySelectorAll("#views a")) {
    const isCurrent = link.getAttribute("data-view") === query.view && !query.check;
    if (isCurrent) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const hasList = view === "checks" || view === "heat";
  byId("tools").hidden = !hasList;
  byId("sort-label").hidden = view !== "checks";
  byId("colour-label").hidden = view !== "heat";
  const state = `${model.version} ${JSON.stringify(query)} ${feed.lostSince}`;
  const newest = `${model.changes[0]?.sequence} ${model.changes.length} ${model.changes[0]?.time}`;
  if (hasList) {
    once("chips", state, () => {
      showChips(model, query.show, (show) => go({ show: query.show === show ? "" : show }));
    });
    selection.prepare();
    once("selects", `${model.members} ${JSON.stringify(query)}`, selects);
  }
  if (view === "checks") {
    once("list", state, () => list.update(query));
    list.draw();
    once("side", newest, () => refill(byId("side-changes"), transitions(model.changes.slice(0, 30), open)));
  } else if (view === "heat") {
    once("legend", query.colour, legend);
    once("heat", `${state} ${document.documentElement.dataset.theme}`, () => heat.update(query));
  } else if (view === "changes") {
    once("changes", newest, () => refill(byId("changes"), transitions(model.changes, open)));
  } else if (view === "overrides") {
    void overrides();
  } else if (view === "checker") {
    once("checker", `${model.overview?.now} ${feed.lostSince}`, () => checker.draw());
  } else {
    void check.show(query.check);
  }
  if (view !== "check") check.leave();
  if (view !== "heat") drawn.delete("heat");
  if (view !== "checks") drawn.delete("list");
  performance.measure("hc-show", "hc-show");
  // For the profiler, which wants the latest: a page that stays open for weeks must not keep all.
  performance.clearMarks("hc-show");
  if ((drawings += 1) % 1000 === 0) performance.clearMeasures("hc-show");
}

let askedAt = 0;
async function overrides() {
  if (Date.now() - askedAt < 1900) return;
  askedAt = Date.now();
  try {
    /** @type {{ overrides: Override[] }} */
    const answer = await get("/api/v1/overrides");
    const minute = Math.floor(Date.now() / 10_000);
    once("overrides", JSON.stringify(answer) + minute, () => {
      refill(byId("overrides"), ...overridesPage(answer.overrides, model, open));
    });
  } catch {
    // The connection says so.
  }
}

/** @param {string} id @param {[string, string][]} options @param {string} chosen */
function options(id, options, chosen) {
  const select = /** @type {HTMLSelectElement} */ (byId(id));
  select.replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
  select.value = chosen;
}

function selects() {
  const types = query.type && !selection.types.includes(query.type) ? [...selection.types, query.type] : selection.types;
  options("type", [["", "any"], ...types.map((type) => /** @type {[string, string]} */ ([type, type]))], query.type);
  options("group", [["", "nothing"], ["type", "type"], ...selection.labels.map((key) => /** @type {[string, string]} */ ([key, key]))], selection.groupedBy(query));
  /** @type {HTMLSelectElement} */ (byId("sort")).value = query.sort;
  /** @type {HTMLSelectElement} */ (byId("colour")).value = query.colour;
  const search = /** @type {HTMLInputElement} */ (byId("search"));
  if (search.value !== query.text) search.value = query.text;
}

function legend() {
  /** @type {[string, string][]} */
  const keys =
    query.colour === "health"
      ? [["up", "up"], ["held", "held ="], ["unknown", "no verdict"], ["down", "down ×"]]
      : [["l0", "under 1 ms"], ["l1", "4 ms"], ["l2", "16 ms"], ["l3", "64 ms"], ["l4", "256 ms"], ["l5", "more"], ["down", "down ×"]];
  byId("legend").replaceChildren(...keys.map(([key, text]) => h("span", {}, h("i", { "data-heat": key, "aria-hidden": "true" }), text)));
}

/**
 * Looks at something else.
 * @param {Partial<Query>} change
 * @param {boolean} [isNew] whether the way back leads to what is looked at now
 */
function go(change, isNew = false) {
  query = { ...query, ...change };
  if (isNew) history.pushState(null, "", toAddress(query));
  else history.replaceState(null, "", toAddress(query));
  show();
}

/** Where the views were left when a check was opened from them. @type {Map<View, { top: number, link: string | null }>} */
const left = new Map();

/** @param {string} name */
function open(name) {
  if (!query.check) left.set(query.view, { top: scrollY, link: document.activeElement?.getAttribute("href") ?? null });
  go({ check: name }, true);
  scrollTo(0, 0);
  byId("check").querySelector("h2")?.focus({ preventScroll: true });
}

/** @param {View} view */
function look(view) {
  go({ view, check: "" }, true);
  scrollTo(0, 0);
}

function back() {
  if (!query.check) return;
  go({ check: "" }, true);
  returned();
}

/** A view is as it was when a check was opened from it. */
function returned() {
  const { view } = query;
  const { top, link } = left.get(view) ?? { top: 0, link: null };
  const box = byId(`view-${view}`);
  const links = [...box.querySelectorAll("a")];
  const target = links.find((one) => link && one.getAttribute("href") === link) ?? box.querySelector(view === "heat" ? "canvas" : "#grid, h2");
  /** @type {HTMLElement | null} */ (target)?.focus({ preventScroll: true });
  scrollTo(0, top);
}

const THEMES = ["auto", "light", "dark"];

/** @param {string} theme */
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  setText(byId("theme"), theme);
  byId("theme").setAttribute("aria-label", `Colours: ${theme === "auto" ? "as the system" : theme}`);
  try {
    localStorage.setItem("hc-theme", theme);
  } catch {
    // A browser that keeps nothing.
  }
}

function nextTheme() {
  setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length] ?? "auto");
  show();
}

/** @param {string} key */
function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

const help = /** @type {HTMLDialogElement} */ (byId("help"));
const search = /** @type {HTMLInputElement} */ (byId("search"));
const singleKeys = /** @type {HTMLInputElement} */ (byId("single-keys"));

/** @param {KeyboardEvent} event */
function key(event) {
  if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || help.open) return;
  if (event.key === "Escape") {
    if (document.activeElement === search) {
      if (search.value) go({ text: (search.value = "") });
      byId("grid").focus();
    } else {
      back();
    }
    return;
  }
  const of = event.target;
  if (!singleKeys.checked || of instanceof HTMLInputElement || of instanceof HTMLSelectElement) return;
  if (event.key === "/") {
    event.preventDefault();
    if (byId("tools").hidden) look("checks");
    search.focus();
    search.select();
  } else if (event.key === "?") {
    help.showModal();
  } else if (event.key === "t") {
    nextTheme();
  } else {
    const view = VIEWS[Number(event.key) - 1];
    if (view) look(view);
  }
}

setTheme(THEMES.find((theme) => theme === stored("hc-theme")) ?? "auto");
singleKeys.checked = stored("hc-keys") !== "off";
singleKeys.addEventListener("change", () => {
  try {
    localStorage.setItem("hc-keys", singleKeys.checked ? "on" : "off");
  } catch {
    // A browser that keeps nothing.
  }
});
byId("theme").addEventListener("click", nextTheme);
byId("keys").addEventListener("click", () => help.showModal());
byId("tools").addEventListener("submit", (event) => {
  event.preventDefault();
  byId("grid").focus();
});
search.addEventListener("input", () => go({ text: search.value }));
search.addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown") return;
  event.preventDefault();
  byId(query.view === "heat" ? "heat-canvas" : "grid").focus();
});
for (const [id, key_] of /** @type {[string, keyof Query][]} */ ([["type", "type"], ["group", "group"], ["sort", "sort"], ["colour", "colour"]])) {
  byId(id).addEventListener("change", (event) => go({ [key_]: /** @type {HTMLSelectElement} */ (event.target).value }));
}
byId("views").addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  if (!link || !isPlain(event)) return;
  event.preventDefault();
  look(/** @type {View} */ (link.dataset.view));
});
byId("back").addEventListener("click", (event) => {
  if (!isPlain(event)) return;
  event.preventDefault();
  back();
});
// The browser would do it before the rows are there again.
history.scrollRestoration = "manual";
addEventListener("popstate", () => {
  const before = query;
  query = fromAddress();
  show();
  if (before.check && !query.check && before.view === query.view) returned();
  else if (before.check !== query.check || before.view !== query.view) scrollTo(0, 0);
});
addEventListener("keydown", key);
list.refold = () => {
  drawn.delete("list");
  show();
};
feed.visible = () => {
  if (!query.check) return list.visible();
  const row = model.byName.get(query.check) ?? model.byId.get(query.check);
  return row ? [row.id] : [];
};
show();
feed.start();
