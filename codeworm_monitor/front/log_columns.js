/**
 * Rows in a ring of columns. Rows are numbered: the next gets the number after the newest, an older one that before the
 * oldest, and a row keeps its number as long as it is held.
 */

import { CycleTracker, roleOf } from "./log_cycles.js";
import { GAP, LEVELS, SKIPPED, kindOf, levelNumber, textAt, weightOf } from "./log_kinds.js";

/** A ring of at most `capacity` rows that together weigh at most `heaviest`. */
export class Columns {
  /**
   * @param {number} capacity Rows.
   * @param {number} heaviest Bytes, as far as they can be told.
   */
  constructor(capacity, heaviest) {
    const size = 2 ** Math.ceil(Math.log2(Math.max(2, capacity)));
    this.capacity = capacity;
    this.heaviest = heaviest;
    this.first = 0;
    this.end = 0;
    this.weight = 0;
    this.levelCounts = new Float64Array(LEVELS.length + 1);
    this.gapCount = 0; // gaps held
    this._mask = size - 1;
    this._data = new Array(size).fill(null);
    this._channels = new Array(size).fill("");
    this._offsets = new Float64Array(size);
    this._times = new Float64Array(size);
    this._kinds = new Uint8Array(size);
    this._levels = new Uint8Array(size);
    this._roles = new Uint8Array(size);
    this._cycles = new Float64Array(size);
    this._weights = new Float64Array(size);
    this._tracker = new CycleTracker();
  }

  get size() {
    return this.end - this.first;
  }

  /** Whether one more row, of ordinary weight among these, has no room. */
  get isFull() {
    return this.size >= this.capacity || (this.size > 0 && this.weight + this.weight / this.size > this.heaviest);
  }

  /** Offset of a row, NaN if it has none. */
  offset(number) {
    return this._offsets[number & this._mask];
  }

  time(number) {
    return this._times[number & this._mask];
  }

  kind(number) {
    return this._kinds[number & this._mask];
  }

  level(number) {
    return this._levels[number & this._mask];
  }

  channel(number) {
    return this._channels[number & this._mask];
  }

  data(number) {
    return this._data[number & this._mask];
  }

  /** Number of the row that begins the row's cycle; NaN: it belongs to none. */
  cycle(number) {
    return this._cycles[number & this._mask];
  }

  /** Add a row behind the newest; the oldest make room. */
  append(row) {
    const number = this.end;
    this.end += 1;
    if (this.size > this.capacity) this.evict();
    this._put(number, row);
    const i = number & this._mask;
    this._cycles[i] = this._tracker.take(number, this._roles[i], this._times[i]);
    while (this.weight > this.heaviest && this.size > 1) this.evict();
  }

  /** Add a row before the oldest; false: there is no room. `retrace` must be called after the last. */
  prepend(row) {
    if (this.size >= this.capacity || this.weight >= this.heaviest) return false;
    this.first -= 1;
    this._put(this.first, row);
    return true;
  }

  /** Say anew to which cycle each row belongs. */
  retrace() {
    this._tracker = new CycleTracker();
    for (let n = this.first; n < this.end; n += 1) {
      const i = n & this._mask;
      this._cycles[i] = this._tracker.take(n, this._roles[i], this._times[i]);
    }
  }

  /** Let go of the oldest row. */
  evict() {
    const i = this.first & this._mask;
    this.levelCounts[this._levels[i]] -= 1;
    this.weight -= this._weights[i];
    if (this._kinds[i] === GAP) this.gapCount -= 1;
    this._data[i] = null;
    this._channels[i] = "";
    this.first += 1;
  }

  /** Return a copy with more room. */
  copy(capacity, heaviest) {
    const copy = new Columns(capacity, heaviest);
    copy.first = copy.end = this.first;
    for (let n = this.first; n < this.end; n += 1) {
      const from = n & this._mask;
      const to = n & copy._mask;
      for (const name of COPIED) copy[name][to] = this[name][from];
    }
    copy.end = this.end;
    copy.weight = this.weight;
    copy.gapCount = this.gapCount;
    copy.levelCounts.set(this.levelCounts);
    return copy;
  }

  /** Return a row as it came. */
  row(number) {
    const offset = this.offset(number);
    return [Number.isNaN(offset) ? null : offset, this.time(number), this.channel(number), this.data(number)];
  }

  /** Return the number of the row with that offset, or, if it is not held, of the nearest newer one. */
  find(offset) {
    let low = this.first;
    let high = this.end;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      let known = middle;
      while (known < high && Number.isNaN(this.offset(known))) known += 1;
      if (known < high && this.offset(known) < offset) low = known + 1;
      else high = middle;
    }
    while (low < this.end && Number.isNaN(this.offset(low))) low += 1;
    return low;
  }

  _put(number, row) {
    const i = number & this._mask;
    const kind = kindOf(row[2]);
    const level = kind === GAP || kind === SKIPPED ? 0 : levelNumber(textAt(row[3], "level"));
    const weight = weightOf(row[3]);
    this._data[i] = row[3];
    this._channels[i] = typeof row[2] === "string" ? row[2] : "";
    this._offsets[i] = typeof row[0] === "number" ? row[0] : NaN;
    this._times[i] = typeof row[1] === "number" ? row[1] : NaN;
    this._kinds[i] = kind;
    this._levels[i] = level;
    this._roles[i] = roleOf(kind, row[3]);
    this._weights[i] = weight;
    this.weight += weight;
    this.levelCounts[level] += 1;
    if (kind === GAP) this.gapCount += 1;
  }
}

const COPIED = ["_data", "_channels", "_offsets", "_times", "_kinds", "_levels", "_roles", "_cycles", "_weights"];
