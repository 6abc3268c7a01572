// Which checks are shown, in which order and in which groups; and the address, which says so.

/** @import { Model, Row } from "./model.js" */
import { stateOf } from "./model.js";

/** @typedef {"checks" | "heat" | "changes" | "overrides" | "checker"} View */
/** @type {View[]} */
export const VIEWS = ["checks", "heat", "changes", "overrides", "checker"];

/** @typedef {"down" | "held" | "unknown" | "up" | "override" | "differs" | "warned"} Show */

/**
 * What is looked at; all of it is in the address.
 * @typedef {object} Query
 * @property {View} view
 * @property {string} check the name or id of the one check that is looked at; empty: all
 * @property {string} text
 * @property {Show | ""} show
 * @property {string} type
 * @property {string | null} group a key of labels, `type`, or empty for none; null: what fits the checks
 * @property {"worst" | "name" | "since" | "latency"} sort
 * @property {"health" | "latency"} colour of the heat map
 */

/** @returns {Query} */
export function fromAddress() {
  const given = new URLSearchParams(location.search);
  /**
   * @template {string} T
   * @param {string} key
   * @param {readonly T[]} known
   * @param {T} otherwise
   * @returns {T}
   */
  const one = (key, known, otherwise) => known.find((word) => word === given.get(key)) ?? otherwise;
  return {
    view: one("view", VIEWS, "checks"),
    check: given.get("check") ?? "",
    text: given.get("q") ?? "",
    show: one("show", ["", "down", "held", "unknown", "up", "override", "differs", "warned"], ""),
    type: given.get("type") ?? "",
    group: given.get("group"),
    sort: one("sort", ["worst", "name", "since", "latency"], "worst"),
    colour: one("colour", ["health", "latency"], "health"),
  };
}

/** @param {Query} query */
export function toAddress(query) {
  const given = new URLSearchParams();
  if (query.view !== "checks") given.set("view", query.view);
  if (query.check) given.set("check", query.check);
  if (query.text) given.set("q", query.text);
  if (query.show) given.set("show", query.show);
  if (query.type) given.set("type", query.type);
  if (query.group !== null) given.set("group", query.group);
  if (query.sort !== "worst") given.set("sort", query.sort);
  if (query.colour !== "health") given.set("colour", query.colour);
  const text = given.toString();
  return text ? `?${text}` : location.pathname;
}

/**
 * A group and what is in it.
 * @typedef {object} Group
 * @property {string} name
 * @property {Row[]} rows
 * @property {number} down
 * @property {number} held
 * @property {number} unknown
 * @property {number} up
 */

/** @param {Row} row @returns {number} the worst first */
function rank(row) {
  switch (stateOf(row)) {
    case "down":
      return 0;
    case "held":
      return 1;
    case "unknown":
      return 2;
    default:
      return row.reported || row.overrides || row.warning ? 3 : 4;
  }
}

export class Selection {
  /** @type {Row[]} */
  #byName = [];
  #members = -1;
  /** @type {Row[]} */
  #ordered = [];
  #orderedFor = "";
  /** @type {string[]} */
  labels = [];
  /** @type {string[]} */
  types = [];

  /** @param {Model} model */
  constructor(model) {
    this.model = model;
  }

  /** Takes in which checks there are. */
  prepare() {
    const { model } = this;
    if (this.#members !== model.members) {
      this.#members = model.members;
      this.#byName = model.rows.toSorted((a, b) => (a.sortName < b.sortName ? -1 : a.sortName > b.sortName ? 1 : 0));
      this.labels = [...new Set(this.#byName.flatMap((row) => Object.keys(row.labels)))].sort();
      this.types = [...new Set(this.#byName.map((row) => row.kind))].sort();
    }
  }

  /** @param {Query["sort"]} sort */
  #order(sort) {
    const { model } = this;
    this.prepare();
    const orderedFor = `${sort} ${model.version}`;
    if (this.#orderedFor === orderedFor) return this.#ordered;
    this.#orderedFor = orderedFor;
    if (sort === "name") {
      this.#ordered = this.#byName;
    } else if (sort === "worst") {
      // One pass for all: a hundred thousand are not compared again because one of them has changed.
      /** @type {Row[][]} */
      const ranks = [[], [], [], [], []];
      for (const row of this.#byName) ranks[rank(row)]?.push(row);
      this.#ordered = ranks.flat();
    } else {
      /** @type {(row: Row) => number} */
      const key = sort === "since" ? (row) => row.since ?? 0 : (row) => row.mean;
      this.#ordered = this.#byName.toSorted((a, b) => key(b) - key(a));
    }
    return this.#ordered;
  }

  /**
   * The rows that the query takes, in its order.
   * @param {Query} query
   * @param {Query["sort"]} [sort]
   */
  rows(query, sort = query.sort) {
    const takes = predicate(query);
    const ordered = this.#order(sort);
    return takes ? ordered.filter(takes) : ordered;
  }

  /**
   * What they are grouped by: what was asked for, or the label `group` where there are several.
   * @param {Query} query
   */
  groupedBy(query) {
    return query.group ?? (this.labels.includes("group") ? "group" : "");
  }

  /**
   * @param {Query} query
   * @param {Row[]} rows
   * @returns {Group[] | null} the worst first; null without groups
   */
  groups(query, rows) {
    const by = this.groupedBy(query);
    if (!by) return null;
    /** @type {Map<string, Group>} */
    const groups = new Map();
    for (const row of rows) {
      const name = (by === "type" ? row.kind : row.labels[by]) ?? "";
      let group = groups.get(name);
      if (!group) groups.set(name, (group = { name, rows: [], down: 0, held: 0, unknown: 0, up: 0 }));
      group.rows.push(row);
      group[stateOf(row)] += 1;
    }
    const sorted = [...groups.values()];
    /** @param {Group} group */
    const worst = (group) => (group.down ? 0 : group.held ? 1 : group.unknown ? 2 : 3);
    sorted.sort((a, b) => worst(a) - worst(b) || (a.name < b.name ? -1 : 1));
    return sorted;
  }
}

/**
 * Whether a row is one of those that are asked for; null: all are.
 * @param {Query} query
 * @returns {((row: Row) => boolean) | null}
 */
function predicate(query) {
  const { show, type } = query;
  const words = query.text.toLowerCase().split(/\s+/).filter(Boolean);
  /** @type {string[]} */
  const wanted = [];
  /** @type {string[]} */
  const unwanted = [];
  /** @type {[string, string][]} */
  const labels = [];
  for (const word of words) {
    const equals = word.indexOf("=");
    if (equals > 0) labels.push([word.slice(0, equals), word.slice(equals + 1)]);
    else if (word.startsWith("-") && word.length > 1) unwanted.push(word.slice(1));
    else wanted.push(word);
  }
  if (!show && !type && !words.length) return null;
  /** @param {Row} row */
  const shown = (row) => {
    switch (show) {
      case "":
        return true;
      case "held":
        return row.held !== "";
      case "override":
        return row.overrides !== "";
      case "differs":
        return row.reported !== "";
      case "warned":
        return row.warning !== "";
      default:
        return stateOf(row) === show;
    }
  };
  return (row) =>
    shown(row) &&
    (!type || row.kind === type) &&
    wanted.every((word) => row.text.includes(word)) &&
    !unwanted.some((word) => row.text.includes(word)) &&
    labels.every(([key, value]) => {
      const of = Object.keys(row.labels).find((known) => known.toLowerCase() === key);
      // `=` may as well be a part of a message.
      return of === undefined ? row.text.includes(`${key}=${value}`) : row.labels[of]?.toLowerCase() === value;
    });
}
