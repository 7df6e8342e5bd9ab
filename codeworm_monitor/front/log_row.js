/**
 * One line of the log list: time, level, component, event, and of the rest what matters.
 */

import { h, setAttribute, setText } from "./dom.js";
import { asTime, clock, count, counted, dateTime, inert, length } from "./format.js";
import { EVENTS, GAP, RELAY, SHORT_LEVELS, SKIPPED, STATS, nameOf, textAt } from "./log_kinds.js";

/** Pixels of a row of one line and, where there is no room for all side by side, of two: a finger's. */
export const ONE_LINE = 24;
export const TWO_LINES = 44;

const MOST = 400; // characters of a summary: more than any screen shows
const TIME = 200;
const MOST_FIELDS = 12;
/** Fields in the order in which they are worth reading; without a name before them where the value tells it. */
const FIRST = ["target", "repo", "doc_type", "language", "error", "message", "reason", "commit_message"];
const BARE = new Set(["target", "error", "message", "commit_message", "reason"]);
const LEFT_OUT = new Set(["event", "type", "level", "component", "timestamp", "exception", "stack", "data", "dry_run"]);
const LEVEL_CLASSES = ["none", "debug", "info", "warning", "error", "critical"];

/**
 * Return a time of day of this machine with its milliseconds, "14:02:10.250".
 * @param {number} t Unix seconds.
 * @returns {string}
 */
export function clockMs(t) {
  if (asTime(t) === null) return "––:––:––";
  return `${clock(t)}.${String(Math.floor((t * 1000) % 1000)).padStart(3, "0")}`;
}

/**
 * Return what matters of a payload beside its names, as one line.
 * @param {number} kind
 * @param {any} data
 * @param {boolean} [isTrouble] Whether what went wrong is told first: there may be room for little.
 * @returns {string}
 */
export function summary(kind, data, isTrouble = false) {
  if (typeof data !== "object" || data === null) return inert(typeof data === "string" ? data : String(data), MOST);
  if (Array.isArray(data)) return inert(`a list of ${counted(data.length, "value")}`, MOST);
  const nested = kind === EVENTS && isPlain(data.data) ? data.data : {};
  const parts = [];
  const seen = new Set(LEFT_OUT);
  const say = (key, value) => {
    if (seen.has(key) || parts.length >= MOST_FIELDS) return;
    const text = fieldText(key, value);
    if (text === "") return;
    seen.add(key);
    parts.push(text);
  };
  for (const key of isTrouble ? ["error", ...FIRST] : FIRST) {
    if (Object.hasOwn(nested, key)) say(key, nested[key]);
    else if (Object.hasOwn(data, key)) say(key, data[key]);
  }
  for (const fields of [nested, data]) {
    for (const key in fields) {
      if (parts.length >= MOST_FIELDS) break;
      if (Object.hasOwn(fields, key)) say(key, fields[key]);
    }
  }
  if (typeof data.exception === "string" && !Object.hasOwn(data, "error")) {
    parts.unshift(inert(data.exception.slice(-2000).trimEnd().split("\n").at(-1), TIME));
  }
  return parts.join(" · ").slice(0, MOST);
}

function isPlain(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fieldText(key, value) {
  const name = inert(key, 40);
  switch (typeof value) {
    case "string":
      if (value === "") return "";
      if (BARE.has(key)) return inert(value, TIME);
      if (key === "repo") return `in ${inert(value, 80)}`;
      if (key === "commit") return inert(value, 12);
      if (key === "doc_type" || key === "language") return inert(value, 40);
      if (key === "time" || key === "last_success") return `${name} ${inert(value, 40)}`;
      return `${name} ${inert(value, 120)}`;
    case "number":
      if (key === "time_ms") return `${count(value / 1000, 1)} s`;
      if (key === "tokens") return counted(value, "token");
      if (key === "seconds") return length(value);
      if (key === "cycle_num") return `cycle ${count(value)}`;
      return `${name} ${count(value, 2)}`;
    case "boolean":
      return `${name} ${value ? "yes" : "no"}`;
    case "object": {
      if (value === null) return "";
      if (Array.isArray(value)) return `${name} ${counted(value.length, "value")}`;
      const pairs = [];
      let more = false;
      for (const inner in value) {
        if (pairs.length >= 4) {
          more = true;
          break;
        }
        const one = value[inner];
        const text = typeof one === "object" && one !== null ? "…" : inert(typeof one === "string" ? one : String(one), 40);
        pairs.push(`${inert(inner, 40)} ${text}`);
      }
      return pairs.length === 0 ? "" : `${name}: ${pairs.join(", ")}${more ? ", …" : ""}`;
    }
    default:
      return "";
  }
}

/**
 * Return what a gap was, as one line.
 * @param {any} data
 * @returns {string}
 */
export function gapText(data) {
  const told = isPlain(data) ? data : {};
  const cause = inert(typeof told.cause === "string" ? told.cause.replaceAll("_", " ") : "", 80) || "unknown cause";
  const span = asTime(told.started_at) !== null && asTime(told.ended_at) !== null
    ? `, ${clock(told.started_at)}–${clock(told.ended_at)} (${length(told.ended_at - told.started_at)})`
    : "";
  const missed = typeof told.missed === "number" ? `${counted(told.missed, "message")} missed` : "unknown how many missed";
  const detail = inert(told.detail, TIME);
  return `gap: ${cause}${span}, ${missed}${detail ? ` · ${detail}` : ""}`;
}

/** Makes and updates the element of one line. */
export class RowNode {
  /** @param {string} id */
  constructor(id) {
    this.time = h("span", { class: "cwm-log-time" });
    this.ms = h("span", { class: "cwm-log-ms" });
    this.clock = document.createTextNode("");
    this.time.append(this.clock, this.ms);
    this.level = h("span", { class: "cwm-log-level" });
    this.component = h("span", { class: "cwm-log-component" });
    this.name = h("span", { class: "cwm-log-event" });
    this.rest = h("span", { class: "cwm-log-summary" });
    const said = h("span", { class: "cwm-log-said" }, this.name, this.rest);
    this.el = h("div", { class: "cwm-log-row", role: "option", id }, this.time, this.level, this.component, said);
    this.number = NaN;
    this.version = -1;
    this.store = null;
    this.note = "";
  }

  /**
   * Show a row.
   * @param {object} store
   * @param {number} number
   * @param {string} capacityNote Where all rows are.
   */
  show(store, number, capacityNote) {
    if (this.number === number && this.version === store.version && this.store === store && this.note === capacityNote) return;
    this.number = number;
    this.version = store.version;
    this.store = store;
    this.note = capacityNote;
    const kind = store.kind(number);
    const data = store.data(number);
    const at = store.time(number);
    const text = clockMs(at);
    this.clock.data = text.slice(0, 8);
    setText(this.ms, text.slice(8));
    setAttribute(this.time, "title", dateTime(at));
    this.el.dataset.number = String(number);
    if (kind === GAP || kind === SKIPPED) {
      const told = kind === GAP ? gapText(data) : skippedText(data, capacityNote);
      this.el.className = kind === GAP ? "cwm-log-row cwm-log-gap" : "cwm-log-row cwm-log-skipped";
      setText(this.level, "");
      setText(this.component, "");
      setText(this.name, told);
      setAttribute(this.name, "title", told);
      setText(this.rest, "");
      return;
    }
    const level = store.level(number);
    this.el.className = `cwm-log-row cwm-log-${LEVEL_CLASSES[level]}${kind === RELAY ? " cwm-log-relay" : ""}`;
    setText(this.level, SHORT_LEVELS[level] || (kind === EVENTS ? "event" : kind === STATS ? "stats" : "–"));
    setText(this.component, inert(textAt(data, "component") ?? "", 60));
    const name = inert(nameOf(data), 120) || (kind === STATS ? "stats" : inert(store.channel(number), 60));
    setText(this.name, name);
    setAttribute(this.name, "title", name);
    const rest = summary(kind, data, level >= 4);
    setText(this.rest, rest);
    setAttribute(this.rest, "title", rest || null);
  }
}

/**
 * Return what a row that stands for others says.
 * @param {any} data
 * @param {string} capacityNote
 * @returns {string}
 */
export function skippedText(data, capacityNote) {
  const number = isPlain(data) && typeof data.count === "number" ? data.count : NaN;
  return `${Number.isFinite(number) ? counted(number, "row") : "some rows"} not shown, all in ${inert(capacityNote, 80)}`;
}
