// What the page knows: one row for each check, the latest changes, and the state of the checker.

/**
 * One check.
 * @typedef {object} Row
 * @property {string} id
 * @property {string} name the name, or the id of a check without one
 * @property {string} target
 * @property {Record<string, string>} labels
 * @property {string} kind
 * @property {"healthy" | "unhealthy" | "unknown"} health
 * @property {number | null} since
 * @property {number | null} lastCheck
 * @property {number} duration microseconds, as all latencies
 * @property {number} mean
 * @property {number} max
 * @property {string} message
 * @property {string} failure
 * @property {number | null} failedAt
 * @property {string} held
 * @property {string} reported
 * @property {string} reportedBy
 * @property {string} overrides
 * @property {string} warning what somebody should look at although it is up
 * @property {number[]} samples how long probes took that were seen here, oldest first
 * @property {string} text what a search looks into, in lower case
 * @property {string} sortName
 * @property {number} generation the load that has it
 */

/**
 * A change of health.
 * @typedef {object} Transition
 * @property {number} sequence
 * @property {string} time
 * @property {string} id
 * @property {string} [name]
 * @property {Record<string, string>} [labels]
 * @property {string} target
 * @property {string} from
 * @property {"healthy" | "unhealthy" | "unknown"} to
 * @property {string} reason
 * @property {string} message
 */

/** How much later than due probes began. @typedef {{ p50_seconds: number, p99_seconds: number, max_seconds: number }} Lateness */

/**
 * The answer of /api/v1/status.
 * @typedef {object} Overview
 * @property {string} node
 * @property {string} version
 * @property {string} started_at
 * @property {{ total: number, healthy: number, unhealthy: number, unknown: number, held: number, warned?: number }} checks
 * @property {boolean} ready
 * @property {string[]} reasons
 * @property {string[]} [warnings]
 * @property {{ shard: number, checks: number, in_flight: number, heartbeat: string, stuck: boolean, waiting?: number, busy?: number, lateness?: { p50_seconds: number, p99_seconds: number, max_seconds: number } }[]} shards
 * @property {{ started: number, in_flight: number, waiting: number, inconclusive: number, stalls: number, stalled_seconds: number }} probes
 * @property {Lateness} lateness since the start
 * @property {{ started: number, inconclusive: number, stalls: number, stalled_seconds: number, lateness: Lateness }} [recent] the same of the last minute
 * @property {{ applied_at?: string, applied: number, rejected: number }} source
 * @property {{ name: string, pending: number, oldest_pending_seconds?: number, delivered: number, failed: number, failures_in_a_row: number, last_error?: string }[]} sinks
 * @property {number} dependents_held
 * @property {number} overrides
 * @property {string} position
 * @property {string} [now]
 */

/**
 * The answer of /api/v1/rows: a column for each property.
 * @typedef {object} Columns
 * @property {string} position
 * @property {string} [next]
 * @property {string[]} words
 * @property {Record<string, string>[]} label_sets
 * @property {string[]} id
 * @property {string[]} name
 * @property {string[]} target
 * @property {number[]} labels
 * @property {number[]} kind
 * @property {number[]} health
 * @property {(number | null)[]} since_ms
 * @property {(number | null)[]} last_check_ms
 * @property {number[]} duration_us
 * @property {number[]} mean_us
 * @property {number[]} max_us
 * @property {number[]} message
 * @property {number[]} failure
 * @property {(number | null)[]} failed_ms
 * @property {number[]} held
 * @property {number[]} reported
 * @property {number[]} reported_by
 * @property {number[]} overrides
 * @property {number[]} [warning]
 */

/** The most samples of one check. */
const SAMPLES = 40;
/** With more checks than this, only those that are on the screen are sampled. */
const SAMPLED = 20_000;
/** Changes that are kept. */
const CHANGES = 500;

export class Model {
  /** @type {Row[]} in the checker's order */
  rows = [];
  /** @type {Map<string, Row>} */
  byId = new Map();
  /** @type {Map<string, Row>} */
  byName = new Map();
  /** @type {Transition[]} newest first */
  changes = [];
  /** @type {Overview | null} */
  overview = null;
  /** Grows whenever a row, or which rows there are, changes. */
  version = 0;
  /** Grows whenever checks are added or removed. */
  members = 0;
  /** Whether all checks have been read once. */
  complete = false;
  /** The checker's clock minus ours, in milliseconds. */
  ahead = 0;
  generation = 0;
  /** The version that was counted. */
  #counted = -1;
  #counts = { total: 0, healthy: 0, unhealthy: 0, unknown: 0, held: 0, overridden: 0, differs: 0, guarded: 0, warned: 0 };

  /** The checker's clock. */
  now() {
    return Date.now() + this.ahead;
  }

  /** A load of all checks begins. */
  begin() {
    this.generation += 1;
  }

  /** It has ended: checks that were not in it are gone. */
  end() {
    const rows = this.rows.filter((row) => row.generation === this.generation);
    if (rows.length !== this.rows.length) {
      this.rows = rows;
      this.byId = new Map(rows.map((row) => [row.id, row]));
      this.byName = new Map(rows.map((row) => [row.name, row]));
      this.members += 1;
    }
    this.complete = true;
    this.version += 1;
  }

  /**
   * Takes rows. Those of `isPart` are of some checks that were asked for, and not of a load of all.
   * @param {Columns} columns
   * @param {boolean} isPart
   */
  take(columns, isPart) {
    const { words } = columns;
    /** @param {number | undefined} index */
    const word = (index) => words[index ?? 0] ?? "";
    const isSampled = isPart || this.rows.length <= SAMPLED;
    for (let at = 0; at < columns.id.length; at += 1) {
      const id = columns.id[at] ?? "";
      let row = this.byId.get(id);
      if (!row) {
        if (isPart) continue;
        row = blank(id);
        this.byId.set(id, row);
        this.rows.push(row);
        this.members += 1;
      }
      const lastCheck = columns.last_check_ms[at] ?? null;
      const duration = columns.duration_us[at] ?? 0;
      if (isSampled && lastCheck !== null && lastCheck !== row.lastCheck) {
        row.samples.push(duration);
        if (row.samples.length > SAMPLES) row.samples.shift();
      }
      const name = columns.name[at] || id;
      const labels = columns.label_sets[columns.labels[at] ?? 0] ?? {};
      const message = word(columns.message[at]);
      const failure = word(columns.failure[at]);
      const target = columns.target[at] ?? "";
      const kind = word(columns.kind[at]);
      const isOther = row.name !== name || row.kind !== kind || !isSame(row.labels, labels);
      const isChanged = isOther || row.target !== target || row.message !== message || row.failure !== failure;
      // Order, types and groups are of these.
      if (isOther) this.members += 1;
      if (row.name !== name) {
        this.byName.delete(row.name);
        this.byName.set(name, row);
        row.name = name;
        row.sortName = name.replace(/\d+/g, (digits) => digits.padStart(12, "0"));
      }
      row.target = target;
      row.labels = labels;
      row.kind = kind;
      row.health = /** @type {Row["health"]} */ (word(columns.health[at]));
      row.since = columns.since_ms[at] ?? null;
      row.lastCheck = lastCheck;
      row.duration = duration;
      row.mean = columns.mean_us[at] ?? 0;
      row.max = columns.max_us[at] ?? 0;
      row.message = message;
      row.failure = failure;
      if (isChanged) row.text = textOf(row);
      row.failedAt = columns.failed_ms[at] ?? null;
      row.held = word(columns.held[at]);
      row.reported = word(columns.reported[at]);
      row.reportedBy = word(columns.reported_by[at]);
      row.overrides = word(columns.overrides[at]);
      row.warning = word(columns.warning?.[at]);
      if (!isPart) row.generation = this.generation;
    }
    this.version += 1;
  }

  /**
   * A change of health, as it happens.
   * @param {Transition} transition
   */
  change(transition) {
    // The list may be newer than the rows.
    if (!this.changes.some((known) => known.sequence === transition.sequence)) {
      this.changes.unshift(transition);
      if (this.changes.length > CHANGES) this.changes.pop();
    }
    const row = this.byId.get(transition.id);
    if (!row) return;
    row.health = transition.to;
    if (transition.to !== "healthy") row.warning = "";
    row.since = Date.parse(transition.time);
    row.message = transition.message;
    if (transition.to === "unhealthy") {
      row.failure = transition.message;
      row.failedAt = row.since;
    }
    row.text = textOf(row);
    this.version += 1;
  }

  /**
   * The latest changes, read at once.
   * @param {Transition[]} transitions oldest first
   */
  history(transitions) {
    this.changes = transitions.toReversed().slice(0, CHANGES);
    this.version += 1;
  }

  /** Rows by health, as they are here; counted once for each version. */
  counts() {
    if (this.#counted === this.version) return this.#counts;
    const counts = { total: this.rows.length, healthy: 0, unhealthy: 0, unknown: 0, held: 0, overridden: 0, differs: 0, guarded: 0, warned: 0 };
    for (const row of this.rows) {
      counts[row.health] += 1;
      if (row.held) counts.held += 1;
      if (row.overrides) counts.overridden += 1;
      if (row.reported) counts.differs += 1;
      if (row.reportedBy === "guard") counts.guarded += 1;
      if (row.warning) counts.warned += 1;
    }
    this.#counted = this.version;
    this.#counts = counts;
    return counts;
  }
}

/**
 * What a search looks at.
 * @param {Row} row
 */
function textOf(row) {
  const values = Object.values(row.labels).join("\n");
  return `${row.name}\n${row.id}\n${row.target}\n${row.kind}\n${row.message}\n${row.failure}\n${values}`.toLowerCase();
}

/**
 * @param {Record<string, string>} one
 * @param {Record<string, string>} other
 */
function isSame(one, other) {
  const keys = Object.keys(one);
  return one === other || (keys.length === Object.keys(other).length && keys.every((key) => one[key] === other[key]));
}

/**
 * @param {string} id
 * @returns {Row}
 */
function blank(id) {
  return {
    id,
    name: "",
    target: "",
    labels: {},
    kind: "",
    health: "unknown",
    since: null,
    lastCheck: null,
    duration: 0,
    mean: 0,
    max: 0,
    message: "",
    failure: "",
    failedAt: null,
    held: "",
    reported: "",
    reportedBy: "",
    overrides: "",
    warning: "",
    samples: [],
    text: "",
    sortName: "",
    generation: 0,
  };
}

/** How a check is shown. @typedef {"down" | "held" | "unknown" | "up"} State */

/**
 * @param {Row} row
 * @returns {State}
 */
export function stateOf(row) {
  if (row.health === "unhealthy") return "down";
  if (row.held) return "held";
  return row.health === "healthy" ? "up" : "unknown";
}

/** The state of a health. @type {Record<string, State>} */
export const STATE = { healthy: "up", unhealthy: "down", unknown: "unknown" };

/** The mark of each state, so that no colour is needed to tell them apart. @type {Record<State, string>} */
export const MARK = { down: "✕", held: "‖", unknown: "?", up: "✓" };
