/**
 * What a view of the log shows: levels, component, filter and cycle.
 */

import { FilterMistake, parseQuery, rowTest } from "./log_filter.js";
import { LEVELS } from "./log_kinds.js";

const LONGEST_COMPONENT = 200;
const TOO_SLOW = "this regex is too slow: the filter is off";
const slow = new Set(); // filters that were switched off: they are not begun again unless a person asks

/** The conditions on a row, as a person sets them. A filter that cannot be read changes nothing but `mistake`. */
export class Conditions {
  /** @param {any} [view] What was shown before, as `source.setView` was told. */
  constructor(view) {
    this.levels = new Set(LEVELS);
    this.component = "";
    this.text = "";
    /** Why the filter that was typed last is not the one in force; "": it is. */
    this.mistake = "";
    /** Number of the row that begins the cycle shown alone; NaN: all are shown. */
    this.cycle = NaN;
    this._query = null;
    if (typeof view !== "object" || view === null) return;
    if (Array.isArray(view.levels)) this.levels = new Set(LEVELS.filter((name) => view.levels.includes(name)));
    if (typeof view.component === "string") this.component = view.component.slice(0, LONGEST_COMPONENT);
    if (typeof view.query !== "string") return;
    if (slow.has(view.query)) this.mistake = TOO_SLOW;
    else this.read(view.query);
  }

  get isAny() {
    return this._query === null && this.component === "" && this.levels.size === LEVELS.length && !this.isOneCycle;
  }

  get isOneCycle() {
    return !Number.isNaN(this.cycle);
  }

  /** @returns {((store: object, number: number) => boolean)|null} The condition; null: every row. */
  get test() {
    return this.testOf(this.cycle);
  }

  /** Return the condition where the cycle has another number. */
  testOf(cycle) {
    const levels = this.levels.size === LEVELS.length ? null : this.levels;
    return rowTest({ query: this._query, levels, component: this.component, cycle });
  }

  /** Show or hide a level. */
  toggle(level) {
    if (!this.levels.delete(level)) this.levels.add(level);
  }

  /**
   * Take another filter.
   * @param {string} text
   * @returns {boolean} Whether it could be read.
   */
  read(text) {
    slow.delete(text);
    try {
      this._query = parseQuery(text);
    } catch (error) {
      if (!(error instanceof FilterMistake)) throw error;
      this.mistake = error.message;
      return false;
    }
    this.text = text;
    this.mistake = "";
    return true;
  }

  /** Take a filter away that takes too long, and say so. */
  dropSlow() {
    slow.add(this.text);
    this._query = null;
    this.text = "";
    this.mistake = TOO_SLOW;
  }

  /** Show everything. */
  clear() {
    this.levels = new Set(LEVELS);
    this.component = "";
    this.cycle = NaN;
    this.read("");
  }
}
