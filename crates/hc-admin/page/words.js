// Numbers, times and names as words.

const NUMBER = new Intl.NumberFormat("en");

/** @param {number} count */
export function number(count) {
  return NUMBER.format(count);
}

/**
 * `1 check`, `2 checks`.
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

/**
 * How long something has lasted: `12 s`, `5 min`, `3 h 20 min`, `4 d`.
 * @param {number} ms
 */
export function span(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return minutes < 10 && seconds % 60 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return days < 7 && hours % 24 ? `${days} d ${hours % 24} h` : `${number(days)} d`;
}

/**
 * How long a probe takes: `0.21 ms`, `12 ms`, `1.25 s`.
 * @param {number} us microseconds
 */
export function latency(us) {
  if (us < 1000) return `${(us / 1000).toFixed(2)} ms`;
  if (us < 10_000) return `${(us / 1000).toFixed(1)} ms`;
  if (us < 1_000_000) return `${Math.round(us / 1000)} ms`;
  return `${(us / 1_000_000).toFixed(2)} s`;
}

/**
 * The same of seconds.
 * @param {number | undefined} seconds
 */
export function seconds(seconds) {
  return seconds === undefined ? "" : latency(seconds * 1e6);
}

/**
 * A setting in seconds: `500 ms`, `5 s`, `1 min 30 s`.
 * @param {number | undefined} value
 */
export function setting(value) {
  if (value === undefined) return "";
  if (value < 1) return `${+(value * 1000).toFixed(1)} ms`;
  return value < 60 ? `${+value.toFixed(2)} s` : span(value * 1000);
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-CA", { year: "numeric", month: "2-digit", day: "2-digit" });

/**
 * The time of day here, with the day if it is another one.
 * @param {number} ms since 1970
 */
export function clock(ms) {
  const at = new Date(ms);
  const time = CLOCK.format(at);
  return at.toDateString() === new Date().toDateString() ? time : `${DAY.format(at)} ${time}`;
}

/**
 * An instant in full, in UTC, as logs have it.
 * @param {number} ms since 1970
 */
export function instant(ms) {
  return Number.isFinite(ms) ? new Date(ms).toISOString() : "";
}

/**
 * A word of a command line, whatever is in it.
 * @param {string} word
 */
export function shell(word) {
  return /^[\w@%+=:,./-]+$/.test(word) && !word.startsWith("-") ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
