/**
 * What is told of a view to those behind it, at most four times a second.
 */

import { LEVELS } from "./log_kinds.js";

const AFTER = 250; // milliseconds
const MOST_SELECTED = 1000;

/** Tells what is shown, where it differs from what was told last. */
export class ViewTeller {
  /**
   * @param {(view: object) => void} setView
   * @param {() => object} look Returns `viewOf` what is shown now.
   */
  constructor(setView, look) {
    this._setView = setView;
    this._look = look;
    this._told = "";
    this._timer = null;
  }

  /** Tell soon. */
  soon() {
    this._timer ??= setTimeout(() => {
      this._timer = null;
      const view = this._look();
      const text = JSON.stringify(view);
      if (text === this._told) return;
      this._told = text;
      this._setView(view);
    }, AFTER);
  }

  /** End it. */
  close() {
    clearTimeout(this._timer);
  }
}

/**
 * Return what is shown as it is told.
 * @param {object} conditions
 * @param {object} store
 * @param {object} index
 * @param {object} selection
 * @param {boolean} isPaused
 * @returns {object} With one cycle alone, `first` and `last` are its ends: all between them may be more than it.
 */
export function viewOf(conditions, store, index, selection, isPaused) {
  const offsetAt = (place) => {
    const offset = store.offset(index.at(place));
    return offset >= 0 ? offset : null;
  };
  const isOneCycle = conditions.isOneCycle && index.size > 0;
  return {
    query: conditions.text,
    levels: LEVELS.filter((name) => conditions.levels.has(name)),
    component: conditions.component,
    is_paused: isPaused,
    first: isOneCycle ? offsetAt(0) : store.firstOffset,
    last: isOneCycle ? offsetAt(index.size - 1) : store.lastOffset,
    selected: selection.offsets(MOST_SELECTED),
  };
}
