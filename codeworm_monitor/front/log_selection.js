/**
 * Which rows are selected, and which of them the keyboard is at.
 */

/** Rows by number, with their offsets by which they are found again when numbers change. */
export class Selection {
  constructor() {
    this._rows = new Map(); // number -> offset, NaN: none
    /** Number of the row the keyboard is at, or null. */
    this.active = null;
    this._activeOffset = NaN;
    this._origin = null;
  }

  get size() {
    return this._rows.size;
  }

  has(number) {
    return this._rows.has(number);
  }

  /** @returns {number[]} In their order. */
  get numbers() {
    return [...this._rows.keys()].sort((one, other) => one - other);
  }

  /** @returns {number[]} Offsets of those that have one, at most `most`. */
  offsets(most) {
    const known = [];
    for (const number of this.numbers) {
      const offset = this._rows.get(number);
      if (offset >= 0) known.push(offset);
      if (known.length >= most) break;
    }
    return known;
  }

  /** Return how many `offsets` returns. */
  countOffsets(most) {
    let known = 0;
    for (const offset of this._rows.values()) {
      if (offset >= 0) known += 1;
      if (known >= most) break;
    }
    return known;
  }

  /** Select nothing. */
  clear() {
    this._rows.clear();
    this.active = this._origin = null;
  }

  /**
   * Go to a row.
   * @param {object} store
   * @param {object} index
   * @param {number} number
   * @param {{isRange?: boolean, isToggle?: boolean}} [how] Select all up to it; add it or take it away.
   */
  go(store, index, number, { isRange = false, isToggle = false } = {}) {
    this.active = number;
    this._activeOffset = store.offset(number);
    if (isToggle) {
      if (this._rows.has(number)) this._rows.delete(number);
      else this._rows.set(number, store.offset(number));
      this._origin = number;
      return;
    }
    this._rows.clear();
    if (!isRange || this._origin === null) this._origin = number;
    const [low, high] = [Math.min(this._origin, number), Math.max(this._origin, number)];
    for (let place = index.placeOf(low); place < index.size && index.at(place) <= high; place += 1) {
      const one = index.at(place);
      this._rows.set(one, store.offset(one));
    }
  }

  /** Put the keyboard at a row, without selecting it. */
  moveTo(store, number) {
    this.active = number;
    this._activeOffset = store.offset(number);
  }

  /** Let go of rows that the store has not any more. */
  prune(store) {
    for (const number of this._rows.keys()) if (number < store.first) this._rows.delete(number);
    if (this.active !== null && this.active < store.first) this.active = null;
    if (this._origin !== null && this._origin < store.first) this._origin = store.first;
  }

  /**
   * Find the rows again after numbers have changed.
   * @param {object} store
   */
  renumber(store) {
    const found = (offset) => {
      const number = store.find(offset);
      return number < store.end && store.offset(number) === offset ? number : null;
    };
    const rows = new Map();
    for (const offset of this._rows.values()) {
      const number = offset >= 0 ? found(offset) : null;
      if (number !== null) rows.set(number, offset);
    }
    this._rows = rows;
    this.active = this.active !== null && this._activeOffset >= 0 ? found(this._activeOffset) : null;
    this._origin = this.active;
  }
}
