/**
 * The controls above the log: level chips, component, filter and buttons.
 */

import { h, replace, setAttribute, setText, show } from "./dom.js";
import { count, counted, inert } from "./format.js";
import { LEVELS } from "./log_kinds.js";

const MOST_CHOICES = 100;
const TYPING = 150; // milliseconds of rest after which what is typed is taken
const HELP = [
  ["refused", "rows that contain it, in any letter case"],
  ['"connection refused"', "the words together"],
  ["-timeout", "rows without it"],
  ["/err(no|or) \\d+/", "a regex"],
  ["level:>=warning", "also >, <, <= and plain level:error"],
  ["repo:click target:parse*", "both; * is anything"],
  ["event:push_failed OR event:llm_error", "either"],
];
const KEYS = [
  ["Space", "pause, go on"],
  ["End", "to the newest row"],
  ["Home", "to the oldest; older ones are loaded"],
  ["/", "to the filter"],
  ["Esc", "close, then clear the selection, then the filter"],
  ["↑ ↓", "row by row; with Shift select several"],
  ["Enter", "open or close the record"],
  ["c", "copy the selected records"],
  ["y", "only this cycle"],
];
let controls = 0;

/** Buttons and inputs; what they say is set by `update`. */
export class Controls {
  /**
   * @param {{onLevel: (name: string) => void, onComponent: (name: string) => void, onQuery: (text: string) => void,
   *   onPause: () => void, onClear: () => void, onOpen: () => void, onCopy: () => void, onCycle: () => void}} told
   */
  constructor(told) {
    controls += 1;
    const id = `cwm-log-controls-${controls}`;
    this._told = told;
    this._timer = null;
    this._chips = new Map(LEVELS.map((name) => [name, chip(name, () => told.onLevel(name))]));
    this._choices = h("datalist", { id: `${id}-components` });
    this._known = 0;
    this.component = h("input", {
      ...{ class: "cwm-log-input cwm-log-component-input", type: "text", list: `${id}-components`, placeholder: "component" },
      ...{ "aria-label": "Component", autocomplete: "off", spellcheck: "false", maxlength: "200" },
      oninput: () => {
        const value = this.component.value.trim();
        if (value === "" || this._isChoice(value)) told.onComponent(value);
      },
      onchange: () => told.onComponent(this.component.value.trim()),
    });
    this.query = h("input", {
      ...{ class: "cwm-log-input cwm-log-query", type: "text", placeholder: "filter: words, /regex/, level:>=warning …" },
      ...{ "aria-label": "Filter", "aria-describedby": `${id}-error`, autocomplete: "off", spellcheck: "false", enterkeyhint: "search" },
      oninput: () => this._typed(),
    });
    this._error = h("div", { class: "cwm-log-mistake", id: `${id}-error`, role: "alert", hidden: true });
    this._helpButton = button("?", "What can be written in the filter, and the keys", () => this.toggleHelp());
    setAttribute(this._helpButton, "aria-expanded", "false");
    setAttribute(this._helpButton, "aria-controls", `${id}-help`);
    setAttribute(this._helpButton, "aria-label", "Help on the filter and the keys");
    this._help = help(`${id}-help`);
    this._clear = button("Clear filter", "Show all rows (Esc)", told.onClear);
    this._pause = button("Pause", "Stand still, while rows are still taken (Space)", told.onPause);
    setAttribute(this._pause, "aria-pressed", "false");
    this._open = button("Open", "Show the selected record in full (Enter)", told.onOpen);
    setAttribute(this._open, "aria-expanded", "false");
    this._copy = button("Copy", "Copy the selected records as JSON Lines (c)", told.onCopy);
    this._cycle = button("Only this cycle", "Show only the rows of the selected row's cycle (y)", told.onCycle);
    setAttribute(this._cycle, "aria-pressed", "false");
    this.el = h(
      "div",
      { class: "cwm-log-controls" },
      h("div", { class: "cwm-log-chips", role: "group", "aria-label": "Levels shown" }, [...this._chips.values()].map((one) => one.el)),
      h("div", { class: "cwm-log-filter" }, this.query, this._helpButton, this.component, this._choices),
      h("div", { class: "cwm-log-buttons" }, this._pause, this._open, this._copy, this._cycle, this._clear),
      this._error,
      this._help,
    );
  }

  /** Whether the help is open. */
  get isHelping() {
    return !this._help.hidden;
  }

  /** Open or close the help. */
  toggleHelp() {
    show(this._help, this._help.hidden);
    setAttribute(this._helpButton, "aria-expanded", this.isHelping ? "true" : "false");
  }

  /** Go to the filter, with what is in it selected. */
  focusQuery() {
    this.query.focus();
    this.query.select();
  }

  /** Take what was typed now. */
  take() {
    clearTimeout(this._timer);
    this._timer = null;
    this._told.onQuery(this.query.value);
  }

  /**
   * Show how things are.
   * @param {{levels: Set<string>, levelCounts: Float64Array, components: Set<string>, component: string, error: string,
   *   isPaused: boolean, isFiltered: boolean, selected: number, hasActive: boolean, isOpen: boolean, hasCycle: boolean, isOneCycle: boolean}} state
   */
  update(state) {
    LEVELS.forEach((name, i) => this._chips.get(name).update(state.levels.has(name), state.levelCounts[i + 1]));
    setText(this._error, state.error);
    show(this._error, state.error !== "");
    setAttribute(this.query, "aria-invalid", state.error === "" ? "false" : "true");
    setText(this._pause, state.isPaused ? "Go on" : "Pause");
    setAttribute(this._pause, "aria-pressed", state.isPaused ? "true" : "false");
    this._clear.disabled = !state.isFiltered;
    this._open.disabled = !state.hasActive && !state.isOpen;
    setText(this._open, state.isOpen ? "Close" : "Open");
    setAttribute(this._open, "aria-expanded", state.isOpen ? "true" : "false");
    this._copy.disabled = state.selected === 0;
    setText(this._copy, state.selected > 1 ? `Copy ${count(state.selected)}` : "Copy");
    this._cycle.disabled = !state.hasCycle && !state.isOneCycle;
    setText(this._cycle, state.isOneCycle ? "All cycles" : "Only this cycle");
    setAttribute(this._cycle, "aria-pressed", state.isOneCycle ? "true" : "false");
    if (this._known !== state.components.size) {
      this._known = state.components.size;
      const names = [...state.components].slice(0, MOST_CHOICES).sort();
      replace(this._choices, names.map((name) => h("option", { value: inert(name, 100) })));
    }
  }

  /** End it. */
  close() {
    clearTimeout(this._timer);
  }

  _typed() {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this.take(), TYPING);
  }

  _isChoice(value) {
    const wanted = value.toLowerCase();
    return [...this._choices.children].some((option) => option.getAttribute("value").toLowerCase() === wanted);
  }
}

function button(text, title, onclick) {
  return h("button", { type: "button", class: "cwm-log-button", text, title, onclick: () => onclick() });
}

function chip(name, onclick) {
  const rows = h("span", { class: "cwm-log-chip-count" });
  const el = h(
    "button",
    { type: "button", class: `cwm-log-chip cwm-log-chip-${name}`, "aria-pressed": "true", onclick },
    h("span", { class: "cwm-log-chip-name", text: name }),
    " ",
    rows,
  );
  return {
    el,
    update(isShown, size) {
      setText(rows, count(size));
      setAttribute(el, "aria-pressed", isShown ? "true" : "false");
      setAttribute(el, "title", `${counted(size, "row")} of level ${name}; ${isShown ? "shown" : "hidden"}`);
    },
  };
}

function help(id) {
  const list = (pairs) => h("dl", { class: "cwm-log-help-list" }, pairs.map(([term, meaning]) => [h("dt", {}, h("code", { text: term })), h("dd", { text: meaning })]));
  return h(
    "div",
    { class: "cwm-log-help", id, role: "note", hidden: true },
    h("p", { class: "cwm-log-told", text: "All terms must hold. Before a colon: level, component, repo, event, channel, target, doc_type." }),
    list(HELP),
    list(KEYS),
  );
}
