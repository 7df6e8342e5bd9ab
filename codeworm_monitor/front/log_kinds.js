/**
 * What a row of the log is: its kind, level, names, text and weight. Payloads are anybody's: every type is possible.
 */

/** Levels from the least to the most severe; a row's level is its number here plus one, 0 is none. */
export const LEVELS = ["debug", "info", "warning", "error", "critical"];

/** Short names of the levels, in columns that are narrow. */
export const SHORT_LEVELS = ["", "DEBUG", "INFO", "WARN", "ERROR", "CRIT"];

export const LOGS = 0;
export const EVENTS = 1;
export const STATS = 2;
export const RELAY = 3;
export const OTHER = 4;
export const GAP = 5;
export const SKIPPED = 6;

/** Characters of a row's text that filters look at. */
export const LONGEST_TEXT = 4000;
const DEEPEST = 4;

const RANKS = new Map([["debug", 1], ["info", 2], ["warning", 3], ["error", 4], ["critical", 5], ["warn", 3], ["exception", 4], ["fatal", 5]]);
const KINDS = new Map([
  ["codeworm:logs", LOGS],
  ["codeworm:events", EVENTS],
  ["codeworm:stats", STATS],
  ["codeworm:relay", RELAY],
  ["gap", GAP],
  ["skipped", SKIPPED],
]);

/**
 * Return the kind of a row by its channel.
 * @param {any} channel
 * @returns {number}
 */
export function kindOf(channel) {
  return KINDS.get(channel) ?? OTHER;
}

/**
 * Return a level's number: 1 is debug, 5 critical, 0 no level.
 * @param {any} name In any letter case; `warn`, `exception` and `fatal` are known too.
 * @returns {number}
 */
export function levelNumber(name) {
  if (typeof name !== "string" || name.length > 20) return 0;
  return RANKS.get(name) ?? RANKS.get(name.toLowerCase()) ?? 0;
}

/**
 * Return a payload's own text of that name, or null.
 * @param {any} data
 * @param {string} key
 * @returns {string|null}
 */
export function textAt(data, key) {
  if (typeof data !== "object" || data === null || Array.isArray(data) || !Object.hasOwn(data, key)) return null;
  const value = data[key];
  return typeof value === "string" ? value : null;
}

/**
 * Return the name of what happened: a log line's `event`, an event's `type`, else "".
 * @param {any} data
 * @returns {string}
 */
export function nameOf(data) {
  return textAt(data, "event") || textAt(data, "type") || "";
}

/**
 * Return what words are looked for in: the event name, then all texts and numbers of the payload in their order.
 * @param {any} data
 * @returns {string} At most `LONGEST_TEXT` characters.
 */
export function rowText(data) {
  const name = nameOf(data);
  const parts = name ? [name.slice(0, LONGEST_TEXT)] : [];
  collect(data, 0, parts, { length: name.length });
  // By characters as the kernel counts them: halves of a pair are none.
  const text = parts.join(" ");
  if (text.length <= LONGEST_TEXT) return text;
  const near = text.slice(0, 2 * LONGEST_TEXT);
  return /[\ud800-\udbff]/.test(near) ? Array.from(near).slice(0, LONGEST_TEXT).join("") : near.slice(0, LONGEST_TEXT);
}

function collect(value, depth, parts, taken) {
  if (taken.length > 2 * LONGEST_TEXT) return;
  if (typeof value === "string") {
    parts.push(value.length > 2 * LONGEST_TEXT ? value.slice(0, 2 * LONGEST_TEXT) : value);
    taken.length += value.length + 1;
  } else if (typeof value === "number") {
    const text = String(value);
    parts.push(text);
    taken.length += text.length + 1;
  } else if (typeof value === "object" && value !== null && depth < DEEPEST) {
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length && taken.length <= 2 * LONGEST_TEXT; i += 1) collect(value[i], depth + 1, parts, taken);
    } else {
      for (const key in value) {
        if (taken.length > 2 * LONGEST_TEXT) return;
        collect(value[key], depth + 1, parts, taken);
      }
    }
  }
}

/**
 * Return about how many bytes a payload takes in memory; of very many values the first thousand are looked at.
 * @param {any} data
 * @returns {number}
 */
export function weightOf(data) {
  const left = { values: 1000 };
  return 120 + weigh(data, 0, left);
}

function weigh(value, depth, left) {
  left.values -= 1;
  if (typeof value === "string") return 16 + value.length;
  if (typeof value !== "object" || value === null) return 8;
  if (depth > 8 || left.values < 0) return 200;
  let weight = 24;
  let seen = 0;
  if (Array.isArray(value)) {
    for (const one of value) {
      if (left.values < 0) break;
      weight += 8 + weigh(one, depth + 1, left);
      seen += 1;
    }
    return seen < value.length ? (weight * value.length) / Math.max(1, seen) : weight;
  }
  for (const key in value) {
    if (left.values < 0) return weight + 64 * 1024;
    weight += 16 + weigh(value[key], depth + 1, left);
  }
  return weight;
}
