/**
 * Values as text: anybody's text made inert, times, lengths of time and counts. Wrong types give a dash, never an error.
 */

/** Stands where nothing is known. */
export const DASH = "–";

const ESCAPES = /\u001b(?:\[[0-9;:?]*[ -/]*[@-~]|\][^\u0007\u001b]{0,4096}(?:\u0007|\u001b\\)|[@-Z\\^_])/g;
/** Controls, what turns the direction or has no width, private characters, halves of a pair. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}\u115f\u1160\u3164\uffa0\u034f\u17b4\u17b5\ufe00-\ufe0e]/gu;
const UNSAFE_IN_LINES = /(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}\u115f\u1160\u3164\uffa0\u034f\u17b4\u17b5\ufe00-\ufe0e]/gu;
const MARKS = /(\p{M}{4})\p{M}+/gu;

/**
 * Return text as one line that is nothing but text: white space as single spaces, no terminal escapes, and what is
 * invisible or turns the direction shown by its number. Text that is none gives "" (numbers and booleans their text).
 * @param {any} text Anybody's.
 * @param {number} [most] Characters; of a longer text the beginning and an ellipsis.
 * @returns {string}
 */
export function inert(text, most = 300) {
  const whole = plain(text);
  const taken = whole.slice(0, 2 * most + 64).replace(ESCAPES, "").replace(/[^\S\u2028\u2029\ufeff]+/g, " ").replace(/^ | $/g, "");
  return cut(taken.replace(UNSAFE, shown).replace(MARKS, "$1"), most, whole.length > 2 * most + 64);
}

/**
 * Return text as `inert` does, but with its lines and tabs kept.
 * @param {any} text
 * @param {number} [most]
 * @returns {string}
 */
export function inertLines(text, most = 20000) {
  const whole = plain(text);
  const taken = whole.slice(0, 2 * most + 64).replace(ESCAPES, "").replace(/\r\n?/g, "\n");
  return cut(taken.replace(UNSAFE_IN_LINES, shown).replace(MARKS, "$1"), most, whole.length > 2 * most + 64);
}

function plain(text) {
  if (typeof text === "string") return text;
  return typeof text === "number" || typeof text === "boolean" || typeof text === "bigint" ? String(text) : "";
}

function shown(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  return code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

function cut(text, most, isCut) {
  if (text.length <= most && !isCut) return text;
  const begin = text.slice(0, Math.max(0, most - 1));
  // Not through the middle of a pair.
  return `${/[\ud800-\udbff]$/.test(begin) ? begin.slice(0, -1) : begin}…`;
}

/**
 * Return inert text, or a dash for what is none.
 * @param {any} text
 * @param {number} [most]
 * @returns {string}
 */
export function orDash(text, most = 300) {
  return inert(text, most) || DASH;
}

/**
 * Return a document's type, or an event's name, as words.
 * @param {any} name
 * @returns {string}
 */
export function typeName(name) {
  return inert(name, 60).replaceAll("_", " ");
}

/**
 * Return a finite number, or null for all else.
 * @param {any} value
 * @returns {number|null}
 */
export function asNumber(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/**
 * Return a time between the years 1970 and 9999 in Unix seconds, or null for all else.
 * @param {any} value
 * @returns {number|null}
 */
export function asTime(value) {
  const seconds = asNumber(value);
  return seconds !== null && seconds > 0 && seconds < 253402300000 ? seconds : null;
}

/**
 * Return an object's fields, or none for all that is no plain object.
 * @param {any} value
 * @returns {Object<string, any>}
 */
export function asFields(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
}

/**
 * Return a list, or an empty one for all that is none.
 * @param {any} value
 * @returns {any[]}
 */
export function asList(value) {
  return Array.isArray(value) ? value : [];
}

const two = (number) => String(number).padStart(2, "0");

/**
 * Return Unix seconds as a time of day of this machine, "14:02:10".
 * @param {any} t
 * @returns {string}
 */
export function clock(t) {
  const seconds = asTime(t);
  if (seconds === null) return DASH;
  const date = new Date(seconds * 1000);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/**
 * Return Unix seconds as date and time of this machine, "2026-11-24 14:02:10".
 * @param {any} t
 * @returns {string}
 */
export function dateTime(t) {
  const seconds = asTime(t);
  if (seconds === null) return DASH;
  const date = new Date(seconds * 1000);
  const year = String(date.getFullYear()).padStart(4, "0");
  return `${year}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(seconds)}`;
}

/**
 * Return the time of day, with the date before it if that is not today's.
 * @param {any} t
 * @param {number} now
 * @returns {string}
 */
export function when(t, now) {
  const whole = dateTime(t);
  return whole.slice(0, 10) === dateTime(now).slice(0, 10) ? clock(t) : whole;
}

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

/**
 * Return a length of time in its two largest units, the second left out if there is none: "12 s", "3 min 5 s", "2 h".
 * @param {any} seconds
 * @returns {string}
 */
export function length(seconds) {
  const known = asNumber(seconds);
  if (known === null) return DASH;
  const whole = Math.max(0, Math.round(known));
  const first = UNITS.findIndex(([, size]) => whole >= size);
  if (first < 0) return "0 s";
  const [unit, size] = UNITS[first];
  const parts = [`${count(Math.floor(whole / size))} ${unit}`];
  if (first + 1 < UNITS.length) {
    const [lesser, small] = UNITS[first + 1];
    const rest = Math.floor((whole % size) / small);
    if (rest > 0) parts.push(`${rest} ${lesser}`);
  }
  return parts.join(" ");
}

/**
 * Return a length of time as `length` does, from a minute on without the seconds: many that change each second are unrest.
 * @param {any} seconds
 * @returns {string}
 */
export function rough(seconds) {
  const known = asNumber(seconds);
  return length(known === null || known < 60 ? known : known - (known % 60));
}

/**
 * Return how long ago a time was: "just now", "12 s ago", "3 min ago", "1 h 6 min ago"; for one to come "in 12 s".
 * @param {any} t Unix seconds.
 * @param {number} now
 * @returns {string}
 */
export function ago(t, now) {
  const seconds = asTime(t);
  if (seconds === null) return DASH;
  const passed = Math.round(now - seconds);
  if (Math.abs(passed) < 2) return "just now";
  return passed > 0 ? `${rough(passed)} ago` : `in ${rough(-passed)}`;
}

/**
 * Return a number with its thousands apart, "12,345"; fractions with at most `digits` digits.
 * @param {any} n
 * @param {number} [digits]
 * @returns {string}
 */
export function count(n, digits = 0) {
  const known = asNumber(n);
  if (known === null) return DASH;
  if (Math.abs(known) >= 1e15) return known.toExponential(2);
  return known.toLocaleString("en-GB", { maximumFractionDigits: digits });
}

/**
 * Return a number of things: "1 gap", "2 gaps".
 * @param {any} n
 * @param {string} one
 * @param {string} [many]
 * @returns {string}
 */
export function counted(n, one, many = `${one}s`) {
  return `${count(n)} ${asNumber(n) === 1 ? one : many}`;
}

/**
 * Return a size in bytes: "5.1 GB".
 * @param {any} n
 * @returns {string}
 */
export function bytes(n) {
  let known = asNumber(n);
  if (known === null || known < 0) return DASH;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (known >= 999.5 && unit < units.length - 1) {
    known /= 1000;
    unit += 1;
  }
  return `${count(known, unit > 0 && known < 99.5 ? 1 : 0)} ${units[unit]}`;
}
