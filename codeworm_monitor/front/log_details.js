/**
 * One record of the log in full: its traceback, and its JSON with colours.
 */

import { h, replace, setText } from "./dom.js";
import { count, dateTime, inert, inertLines } from "./format.js";
import { GAP, SKIPPED, nameOf } from "./log_kinds.js";
import { clockMs, gapText, skippedText } from "./log_row.js";

const MOST_VALUES = 1500;
const MOST_CHARACTERS = 100_000;
const LONGEST = 20_000; // characters of one text
const DEEPEST = 30;
const TRACEBACKS = ["exception", "traceback", "stack", "stacktrace"];

/** Shows one record below the list. */
export class Details {
  /** @param {{onClose: () => void, onCopy: () => void, capacityNote: () => string}} told */
  constructor(told) {
    this._told = told;
    this._title = h("span", { class: "cwm-log-details-title" });
    this._body = h("div", { class: "cwm-log-details-body", tabindex: "0", role: "group", "aria-label": "The record" });
    this.el = h(
      "section",
      { class: "cwm-log-details", "aria-label": "Record", hidden: true },
      h(
        "div",
        { class: "cwm-log-details-head" },
        this._title,
        h("button", { type: "button", class: "cwm-log-button", text: "Copy record", onclick: () => told.onCopy() }),
        h("button", { type: "button", class: "cwm-log-button", text: "Close", title: "Close the record (Esc)", onclick: () => told.onClose() }),
      ),
      this._body,
    );
    this.row = null;
    this._noted = []; // [element, what it says, made anew]
  }

  get isOpen() {
    return this.row !== null;
  }

  /**
   * Show a record.
   * @param {object} store
   * @param {number} number
   */
  show(store, number) {
    const row = store.row(number);
    const kind = store.kind(number);
    const [offset, at, channel, data] = row;
    this.row = row;
    this.el.hidden = false;
    const name = inert(nameOf(data), 120);
    const place = offset === null ? "" : ` · offset ${count(offset)}`;
    setText(this._title, `${name || inert(channel, 60)} · ${dateTime(at)}${clockMs(at).slice(8)} · ${inert(channel, 60)}${place}`);
    const texts = [];
    const note = this._told.capacityNote;
    if (kind === GAP) texts.push(() => gapText(data));
    else if (kind === SKIPPED) texts.push(() => skippedText(data, note()));
    if (typeof data === "object" && data !== null && Number.isFinite(data.truncated)) {
      const size = count(data.truncated);
      texts.push(() => `This record is large (${size} bytes): only its main fields are here, the whole is in ${inert(note(), 80)}.`);
    }
    this._noted = texts.map((text) => [h("p", { class: "cwm-log-told" }), text]);
    this.renote();
    const parts = this._noted.map(([one]) => one);
    for (const [key, text] of tracebacksOf(data)) {
      parts.push(h("h3", { class: "cwm-log-heading", text: key }), h("pre", { class: "cwm-log-traceback", text: inertLines(text, LONGEST) }));
    }
    parts.push(h("pre", { class: "cwm-log-json" }, prettyNodes(data)));
    replace(this._body, ...parts);
    this._body.scrollTop = 0;
  }

  /** Say anew where the rest is. */
  renote() {
    for (const [one, text] of this._noted) setText(one, text());
  }

  /** Show none. */
  close() {
    this.row = null;
    this._noted = [];
    this.el.hidden = true;
    replace(this._body);
  }
}

function tracebacksOf(data) {
  if (typeof data !== "object" || data === null || Array.isArray(data)) return [];
  return TRACEBACKS.filter((key) => Object.hasOwn(data, key) && typeof data[key] === "string" && data[key].includes("\n")).map((key) => [key, data[key]]);
}

/**
 * Return JSON over several lines as nodes, each name and value a span of its own class. Of very large values the end is
 * left out, and it is said.
 * @param {any} value
 * @returns {Node[]}
 */
export function prettyNodes(value) {
  const out = { nodes: [], values: 0, characters: 0, isCut: false };
  write(value, 0, out);
  if (out.isCut) out.nodes.push(h("span", { class: "cwm-log-cut", text: "\n… the rest is left out here; a copy of the record has all" }));
  return out.nodes;
}

function span(out, kind, text) {
  out.characters += text.length;
  out.nodes.push(h("span", { class: `cwm-log-json-${kind}`, text }));
}

function plain(out, text) {
  out.characters += text.length;
  const last = out.nodes.at(-1);
  if (last?.nodeType === Node.TEXT_NODE) last.data += text;
  else out.nodes.push(document.createTextNode(text));
}

function write(value, depth, out) {
  out.values += 1;
  if (typeof value === "string") span(out, "text", quoted(value));
  else if (typeof value === "number") span(out, "number", String(value));
  else if (typeof value !== "object" || value === null) span(out, "word", String(value));
  else if (depth >= DEEPEST) {
    span(out, "word", "…");
    out.isCut = true;
  } else if (Array.isArray(value)) writeAll(value.length, "[", "]", depth, out, (i) => write(value[i], depth + 1, out));
  else {
    const keys = Object.keys(value);
    writeAll(keys.length, "{", "}", depth, out, (i) => {
      span(out, "name", quoted(keys[i], 500));
      plain(out, ": ");
      write(value[keys[i]], depth + 1, out);
    });
  }
}

function writeAll(size, open, close, depth, out, one) {
  if (size === 0) {
    plain(out, open + close);
    return;
  }
  plain(out, open);
  const indent = "  ".repeat(depth + 1);
  for (let i = 0; i < size; i += 1) {
    if (out.values > MOST_VALUES || out.characters > MOST_CHARACTERS) {
      out.isCut = true;
      plain(out, `\n${indent}…`);
      break;
    }
    plain(out, `\n${indent}`);
    one(i);
    if (i < size - 1) plain(out, ",");
  }
  plain(out, `\n${"  ".repeat(depth)}${close}`);
}

function quoted(text, most = LONGEST) {
  // Escaped first: what is invisible in a text is shown as JSON writes it.
  const written = JSON.stringify(text.length > most ? `${text.slice(0, most)}…` : text);
  return inertLines(written, 6 * most + 20);
}
