/**
 * What is told of a view to those behind it, at most four times a second.
 */

import { LEVELS } from "./log_kinds.js";

const AFTER = 250; // milliseconds
/** Offsets of selected rows that are told. */
export const MOST_SELECTED = 1000;

const TOUCHES = ["pointerdown", "keydown", "focusin", "input"];
const circles = new WeakMap(); // store -> {tellers, speaker}

/**
 * Tells what is shown, where it differs from what was told last. Of several views of one store only that speaks which a
 * person touched last, or else the first: they would contradict each other with every row.
 */
export class ViewTeller {
  /**
   * @param {object} store
   * @param {(view: object) => void} setView
   * @param {() => object} look Returns `viewOf` what is shown now.
   */
  constructor(store, setView, look) {
    if (!circles.has(store)) circles.set(store, { tellers: [], speaker: null });
    this._circle = circles.get(store);
    this._circle.tellers.push(this);
    this._setView = setView;
    this._look = look;
    this._told = "";
    this._timer = null;
  }

  /**
   * Speak from when a person touches the view on.
   * @param {HTMLElement} el
   */
  listen(el) {
    for (const name of TOUCHES) el.addEventListener(name, () => this._touched(), { capture: true });
  }

  /** Tell soon. */
  soon() {
    if (this._isSpeaker) this._timer ??= setTimeout(() => this.now(), AFTER);
  }

  /** Tell at once. */
  now() {
    clearTimeout(this._timer);
    this._timer = null;
    if (!this._isSpeaker) return;
    const view = this._look();
    const text = JSON.stringify(view);
    if (text === this._told) return;
    this._told = text;
    this._setView(view);
  }

  /** End it; another one speaks. */
  close() {
    clearTimeout(this._timer);
    const { tellers, speaker } = this._circle;
    const wasSpeaker = this._isSpeaker;
    tellers.splice(tellers.indexOf(this), 1);
    if (speaker === this) this._circle.speaker = null;
    if (wasSpeaker && tellers.length > 0) tellers[0]._begin();
  }

  get _isSpeaker() {
    return (this._circle.speaker ?? this._circle.tellers[0]) === this;
  }

  _touched() {
    const wasSpeaker = this._isSpeaker;
    this._circle.speaker = this;
    if (!wasSpeaker) this._begin();
  }

  /** Others have spoken meanwhile: what was told before says nothing. */
  _begin() {
    this._told = "";
    this.soon();
  }
}

/**
 * Return what is shown as it is told.
 * @param {object} conditions
 * @param {object} store
 * @param {object} index
 * @param {object} selection
 * @param {boolean} isPaused
 * @returns {object} With one cycle alone, `first` and `last` are its ends, between which are other rows, too; so where
 *   none is selected, `selected` are those of the cycle, unless they are too many.
 */
export function viewOf(conditions, store, index, selection, isPaused) {
  const offsetAt = (place) => {
    const offset = store.offset(index.at(place));
    return offset >= 0 ? offset : null;
  };
  const isOneCycle = conditions.isOneCycle && index.size > 0;
  const isNamed = isOneCycle && selection.size === 0 && index.size <= MOST_SELECTED;
  return {
    query: conditions.text,
    levels: LEVELS.filter((name) => conditions.levels.has(name)),
    component: conditions.component,
    is_paused: isPaused,
    first: isOneCycle ? offsetAt(0) : store.firstOffset,
    last: isOneCycle ? offsetAt(index.size - 1) : store.lastOffset,
    selected: isNamed ? offsetsOf(store, index) : selection.offsets(MOST_SELECTED),
  };
}

function offsetsOf(store, index) {
  const all = Array.from({ length: index.size }, (_, place) => store.offset(index.at(place)));
  return all.filter((offset) => offset >= 0);
}
