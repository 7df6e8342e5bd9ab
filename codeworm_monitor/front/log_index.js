/**
 * The rows of a store that pass a condition, in their order: found in slices, the newest first, and kept up to date.
 */

import { SlowRegex } from "./log_regex.js";

const TOO_SLOW = 250; // milliseconds of one slice from which on the condition is given up
const SLICE = 6;
const TOGETHER = 16; // rows between looks at the clock

/**
 * Numbers of rows that pass, found by their place among them: `at(0)` is the oldest.
 *
 * `sync` does as much as it may: new rows at once, then older ones backwards, so that the newest are seen first.
 */
export class RowIndex {
  /** @param {object} store */
  constructor(store) {
    this._store = store;
    this._test = null;
    this._slow = 0; // slices in a row that took too long
    this._numbers = new Float64Array(1024);
    this._restart();
  }

  /**
   * Take another condition.
   * @param {((store: object, number: number) => boolean)|null} test null: every row.
   */
  setTest(test) {
    this._test = test;
    this._slow = 0;
    this._restart();
  }

  /** Return an index of the same rows over a copy of the store. */
  over(store) {
    const copy = new RowIndex(store);
    copy._test = this._test;
    copy._numbers = this._numbers.slice();
    copy._head = this._head;
    copy._tail = this._tail;
    if (this._version === this._store.version) {
      copy._low = this._low;
      copy._high = this._high;
    } else {
      copy._restart();
    }
    return copy;
  }

  /** Rows that pass, as far as they are found. */
  get size() {
    return this._test === null ? this._store.size : this._tail - this._head;
  }

  /** Whether all rows were looked at. */
  get isDone() {
    if (this._test === null) return true;
    return this._low <= this._store.first && this._high >= this._store.end && this._version === this._store.version;
  }

  /** How much was looked at, 0 to 1. */
  get progress() {
    const size = this._store.size;
    return this._test === null || size === 0 ? 1 : Math.max(0, Math.min(1, (this._high - this._low) / size));
  }

  /** Return the number of the row at a place. */
  at(place) {
    return this._test === null ? this._store.first + place : this._numbers[(this._head + place) & (this._numbers.length - 1)];
  }

  /** Return the place of a row, or of the next newer one that passes. */
  placeOf(number) {
    if (this._test === null) return Math.max(0, Math.min(this._store.size, number - this._store.first));
    let low = 0;
    let high = this.size;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.at(middle) < number) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Tell whether a row is among those found. */
  has(number) {
    const place = this.placeOf(number);
    return place < this.size && this.at(place) === number;
  }

  /**
   * Let go of what the store let go of, and look at rows not yet looked at.
   * @returns {boolean} Whether some are left.
   * @throws {SlowRegex}
   */
  sync() {
    const store = this._store;
    if (this._version !== store.version) this._restart();
    if (this._test === null) return false;
    while (this._head < this._tail && this.at(0) < store.first) this._head += 1;
    if (this._high < store.first) this._restart();
    this._low = Math.max(this._low, store.first);
    const start = performance.now();
    let now = start;
    while (now - start < SLICE && (this._high < store.end || this._low > store.first)) {
      if (this._high < store.end) {
        const end = Math.min(store.end, this._high + TOGETHER);
        for (; this._high < end; this._high += 1) if (this._test(store, this._high)) this._push(this._high);
      } else {
        const end = Math.max(store.first, this._low - TOGETHER);
        while (this._low > end) {
          this._low -= 1;
          if (this._test(store, this._low)) this._unshift(this._low);
        }
      }
      now = performance.now();
    }
    // Once may be the machine's fault.
    this._slow = this._test.usesRegex && now - start > TOO_SLOW ? this._slow + 1 : 0;
    if (this._slow > 1) throw new SlowRegex();
    return !this.isDone;
  }

  _restart() {
    this._version = this._store.version;
    this._head = this._tail = 0;
    this._low = this._high = this._store.end;
  }

  _push(number) {
    if (this.size >= this._numbers.length) this._grow();
    this._numbers[this._tail & (this._numbers.length - 1)] = number;
    this._tail += 1;
  }

  _unshift(number) {
    if (this.size >= this._numbers.length) this._grow();
    this._head -= 1;
    this._numbers[this._head & (this._numbers.length - 1)] = number;
  }

  _grow() {
    const size = this.size;
    const grown = new Float64Array(this._numbers.length * 2);
    for (let place = 0; place < size; place += 1) grown[place] = this.at(place);
    this._numbers = grown;
    this._head = 0;
    this._tail = size;
  }
}
