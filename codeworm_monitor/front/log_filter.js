/**
 * The filter language of the log panel; the kernel's reader of it is `codeworm_monitor/states/log_filter.py`.
 */

import { GAP, LEVELS, SKIPPED, levelNumber, nameOf, rowText, textAt } from "./log_kinds.js";
import { compileRegex } from "./log_regex.js";

/** What may stand before a colon. */
export const KEYS = ["level", "component", "repo", "event", "channel", "target", "doc_type"];

const LONGEST_QUERY = 1000;
const SPACE = /[ \t\n\r\f\v\u00a0]/;
const EXAMPLES = {
  level: "level:error",
  component: "component:daemon",
  repo: "repo:click",
  event: "event:push_failed",
  channel: "channel:events",
  target: "target:main*",
  doc_type: "doc_type:til",
};

/** A filter cannot be read; its message says what to do. */
export class FilterMistake extends Error {}

/** A row as terms ask it; its text is made once, when first wanted. */
class Subject {
  constructor(channel, data, level) {
    this.channel = channel;
    this.data = data;
    this.level = level;
    this._text = null;
    this._lower = null;
  }

  get text() {
    this._text ??= rowText(this.data);
    return this._text;
  }

  get lower() {
    this._lower ??= this.text.toLowerCase();
    return this._lower;
  }

  value(key) {
    if (key === "event") return nameOf(this.data) || null;
    const own = textAt(this.data, key);
    if (own !== null || key === "level" || key === "component") return own;
    return textAt(this.data?.data, key);
  }
}

/**
 * Read a filter.
 * @param {string} text
 * @returns {((subject: Subject) => boolean)|null} null: everything passes. It tells by `usesRegex` whether it may be slow.
 * @throws {FilterMistake}
 */
export function parseQuery(text) {
  if ([...text].length > LONGEST_QUERY) throw new FilterMistake("the filter is longer than 1,000 characters: shorten it");
  const groups = [[]];
  let place = skipSpace(text, 0);
  while (place < text.length) {
    const end = wordEnd(text, place);
    if (text.slice(place, end) === "OR") {
      if (groups.at(-1).length === 0) throw new FilterMistake("OR stands between two terms: write one before it");
      groups.push([]);
      place = end;
    } else {
      const [term, next] = readTerm(text, place);
      groups.at(-1).push(term);
      place = next;
    }
    place = skipSpace(text, place);
  }
  if (groups.at(-1).length === 0) {
    if (groups.length > 1) throw new FilterMistake("OR stands between two terms: write one after it");
    return null;
  }
  const query = (subject) => groups.some((group) => group.every((term) => term(subject)));
  query.usesRegex = groups.flat().some((term) => term.usesRegex);
  return query;
}

/**
 * Make the whole condition on a row: filter, chips, component and cycle.
 * @param {{query: Function|null, levels: Set<string>|null, component: string, cycle: number}} wanted `levels` null: all;
 *   `component` "": all; `cycle` NaN: all.
 * @returns {((store: object, number: number) => boolean)|null} null: everything passes.
 */
export function rowTest({ query = null, levels = null, component = "", cycle = NaN }) {
  const isShown = [true, ...LEVELS.map((name) => levels === null || levels.has(name))];
  const isEach = isShown.every(Boolean);
  const name = component.toLowerCase();
  const isAnyCycle = Number.isNaN(cycle);
  if (!query && isEach && !name && isAnyCycle) return null;
  const test = (store, number) => {
    const kind = store.kind(number);
    if (!isAnyCycle) {
      if (store.cycle(number) !== cycle) return false;
    } else if (kind === GAP || kind === SKIPPED) {
      return true;
    }
    const level = store.level(number);
    if (!isShown[level]) return false;
    const data = store.data(number);
    if (name && (textAt(data, "component") ?? "").toLowerCase() !== name) return false;
    return query === null || query(new Subject(store.channel(number), data, level));
  };
  test.usesRegex = query?.usesRegex ?? false;
  return test;
}

/**
 * Tell whether one row passes; for those who have no store.
 * @param {object} view As `source.setView` is told.
 * @param {any[]} row
 * @returns {boolean}
 */
export function passes(view, row) {
  const store = {
    kind: () => (row[2] === "gap" ? GAP : row[2] === "skipped" ? SKIPPED : 0),
    level: () => levelNumber(textAt(row[3], "level")),
    data: () => row[3],
    channel: () => (typeof row[2] === "string" ? row[2] : ""),
    cycle: () => NaN,
  };
  const levels = Array.isArray(view.levels) ? new Set(view.levels) : null;
  const test = rowTest({ query: parseQuery(view.query ?? ""), levels, component: view.component ?? "" });
  return test === null || test(store, 0);
}

function skipSpace(text, place) {
  let next = place;
  while (next < text.length && SPACE.test(text[next])) next += 1;
  return next;
}

function wordEnd(text, place) {
  let next = place;
  while (next < text.length && !SPACE.test(text[next])) next += 1;
  return next;
}

function readTerm(text, place) {
  if (text[place] !== "-") return readPlain(text, place);
  if (place + 1 === text.length || SPACE.test(text[place + 1])) {
    throw new FilterMistake('nothing follows the "-": write what is not wanted right behind it');
  }
  const [term, end] = readPlain(text, place + 1);
  const negated = (subject) => !term(subject);
  negated.usesRegex = term.usesRegex;
  return [negated, end];
}

function readPlain(text, place) {
  if (text[place] === '"') {
    const [phrase, end] = quoted(text, place);
    return [contains(phrase), end];
  }
  if (text[place] === "/") return readRegex(text, place);
  let end = wordEnd(text, place);
  const word = text.slice(place, end);
  const colon = word.indexOf(":");
  const key = word.slice(0, Math.max(0, colon)).toLowerCase();
  if (colon < 0 || !KEYS.includes(key)) return [contains(word), end];
  let value = word.slice(colon + 1);
  if (value.startsWith('"')) [value, end] = quoted(text, place + colon + 1);
  if (!value) throw new FilterMistake(`${key}: wants a value right behind it, such as ${EXAMPLES[key]}`);
  return [equals(key, value), end];
}

function quoted(text, place) {
  const end = text.indexOf('"', place + 1);
  if (end < 0) throw new FilterMistake('the quote is not closed: end it with "');
  if (end === place + 1) throw new FilterMistake('there is nothing between the quotes: write "a phrase"');
  wantSpace(text, end + 1, "the closing quote");
  return [text.slice(place + 1, end), end + 1];
}

function wantSpace(text, place, what) {
  if (place < text.length && !SPACE.test(text[place])) throw new FilterMistake(`a space must follow ${what}`);
}

function readRegex(text, place) {
  let end = place + 1;
  let pattern = "";
  while (end < text.length && text[end] !== "/") {
    const piece = text[end] === "\\" ? text.slice(end, end + 2) : text[end];
    pattern += piece === "\\/" ? "/" : piece;
    end += text[end] === "\\" ? 2 : 1;
  }
  if (end >= text.length) throw new FilterMistake("the regex is not closed: end it with /, or put a path in quotes");
  if (!pattern) throw new FilterMistake("the regex is empty: write /pattern/");
  wantSpace(text, end + 1, `the regex /${pattern}/; write \\/ for a slash in it, or put a path in quotes`);
  let test;
  try {
    test = compileRegex(pattern);
  } catch (error) {
    throw new FilterMistake(error.message);
  }
  const term = (subject) => test(subject.text);
  term.usesRegex = true;
  return [term, end + 1];
}

function contains(words) {
  const wanted = words.toLowerCase();
  return (subject) => subject.lower.includes(wanted);
}

function equals(key, value) {
  if (key === "level" && (/^[<>]/.test(value) || !value.includes("*"))) return isLevel(value);
  const matches = pattern(value);
  if (key === "channel") {
    return ({ channel }) => matches(channel) || matches(channel.slice(channel.lastIndexOf(":") + 1));
  }
  return (subject) => {
    const found = subject.value(key);
    return found !== null && matches(found);
  };
}

function isLevel(value) {
  const operator = /^(?:>=|<=|>|<|)/.exec(value)[0];
  const name = value.slice(operator.length);
  const wanted = levelNumber(name);
  if (wanted === 0) throw new FilterMistake(`${name || "nothing"} is no level: write one of ${LEVELS.join(", ")}`);
  const compare = {
    ">=": (level) => level >= wanted,
    "<=": (level) => level <= wanted,
    ">": (level) => level > wanted,
    "<": (level) => level < wanted,
    "": (level) => level === wanted,
  }[operator];
  return ({ level }) => level > 0 && compare(level);
}

function pattern(value) {
  const wanted = value.toLowerCase();
  if (!wanted.includes("*")) return (text) => text.toLowerCase() === wanted;
  const parts = wanted.split("*");
  const first = parts.shift();
  const last = parts.pop();
  return (text) => {
    const lower = text.toLowerCase();
    if (!lower.startsWith(first) || !lower.endsWith(last) || lower.length < first.length + last.length) return false;
    let place = first.length;
    const end = lower.length - last.length;
    for (const part of parts) {
      const found = lower.indexOf(part, place);
      if (found < 0 || found + part.length > end) return false;
      place = found + part.length;
    }
    return true;
  };
}
