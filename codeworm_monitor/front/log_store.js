/**
 * The rows that the log panel holds, shared by all its views.
 */

import { Columns } from "./log_columns.js";
import { GAP, SKIPPED, kindOf, textAt } from "./log_kinds.js";
import { Slices } from "./log_slices.js";

const CAPACITY = 50_000;
/** Bytes of payloads, roughly: ordinary rows take a tenth of it. */
const HEAVIEST = 256 * 2 ** 20;
const MOST_COMPONENTS = 200;
/** A row that comes this much later than its offset tells (seconds) is of a new numbering. */
const LATE = 1;
const LOOKED_BACK = 64;
/** Seconds by which the time of a row may differ from what it was when it came first: tables hold microseconds. */
const ROUNDED = 0.00001;

/**
 * Holds the newest rows, in their order: at most `capacity`, and at most about 256 MB of them; the oldest go first.
 *
 * Rows are `[offset|null, received_at, channel, data]`. A row that is held already is left out; one that was missed and
 * comes late is put where it belongs. Large amounts are taken in slices of a few milliseconds, in the order in which they
 * came. Listeners are called after each.
 */
export class LogStore {
  /**
   * @param {{capacity?: number, heaviest?: number}} [options] Rows; bytes.
   */
  constructor({ capacity = CAPACITY, heaviest = HEAVIEST } = {}) {
    this.capacity = capacity;
    /** Grows when rows get other numbers. */
    this.version = 0;
    /** Grows when rows may belong to cycles of other numbers. */
    this.traced = 0;
    /** Components seen, in order of their first row. */
    this.components = new Set();
    /** Whether older rows than these may be had. */
    this.hasOlder = true;
    this._heaviest = heaviest;
    this._columns = new Columns(capacity, heaviest);
    this._filling = null;
    this._queue = []; // [rows, index of the next, what to do at the end]
    this._queued = 0;
    this._slices = new Slices((until) => this._work(until));
    this._listeners = new Set();
    this._newest = -Infinity; // offset in the newest numbering
    this._runStart = 0; // number of the row with which that began
    this._isRestarted = false; // a gap told that the next smaller offset is of a new one
  }

  /** Number of the oldest row held. */
  get first() {
    return this._columns.first;
  }

  /** Number of the row to come. */
  get end() {
    return this._columns.end;
  }

  get size() {
    return this._columns.size;
  }

  /** Rows held by level; at 0 those without one. */
  get levelCounts() {
    return this._columns.levelCounts;
  }

  get gapCount() {
    return this._columns.gapCount;
  }

  /** Whether there is no room for older rows. */
  get isFull() {
    return this._columns.isFull;
  }

  /** Whether rows are still being taken. */
  get isBusy() {
    return this._queue.length > 0;
  }

  offset(number) {
    return this._columns.offset(number);
  }

  time(number) {
    return this._columns.time(number);
  }

  kind(number) {
    return this._columns.kind(number);
  }

  level(number) {
    return this._columns.level(number);
  }

  channel(number) {
    return this._columns.channel(number);
  }

  data(number) {
    return this._columns.data(number);
  }

  cycle(number) {
    return this._columns.cycle(number);
  }

  row(number) {
    return this._columns.row(number);
  }

  /** Return the number of the row with this offset in the newest numbering, or of the nearest newer row. */
  find(offset) {
    return this._columns.find(offset);
  }

  /** Return the offset of the oldest row that has one, or null. */
  get firstOffset() {
    for (let n = this.first; n < this.end; n += 1) if (this.offset(n) >= 0) return this.offset(n);
    return null;
  }

  /** Return the offset of the newest row that has one, or null. */
  get lastOffset() {
    for (let n = this.end - 1; n >= this.first; n -= 1) if (this.offset(n) >= 0) return this.offset(n);
    return null;
  }

  /**
   * Add rows behind those there are.
   * @param {any[]} rows
   */
  add(rows) {
    this._enqueue(asRows(rows), null);
  }

  /**
   * Put rows in the place of all there are. The old ones stay until all the new ones are in.
   * @param {any[]} rows
   * @param {boolean} isAll Whether no older ones are to be had.
   */
  fill(rows, isAll) {
    const taken = asRows(rows);
    const kept = taken.slice(-this.capacity);
    this._queue = [];
    this._queued = 0;
    this._filling = new Columns(this.capacity, this._heaviest);
    this._enqueue(kept, () => {
      this._columns = this._filling;
      this._filling = null;
      this.version += 1;
      this.hasOlder = !isAll || kept.length < taken.length || this.first > 0;
      this._isRestarted = false;
      this._findRun();
    });
  }

  /**
   * Add those of the newest rows that are newer than what there is; if they do not lead on from there, they replace it.
   * @param {any[]} rows As for `fill`.
   * @param {boolean} isAll Whether no older ones than these are to be had.
   */
  goOn(rows, isAll) {
    const taken = asRows(rows);
    const newest = this._newestMessage();
    // The same offset may be one of another numbering.
    const isIt = (row) => row[0] === newest[0] && isSameTime(row[1], newest[1]) && row[2] === newest[2];
    const place = newest === null ? -1 : taken.findLastIndex(isIt);
    if (place < 0) this.fill(taken, isAll);
    else if (place < taken.length - 1) this.add(taken.slice(place + 1));
  }

  /**
   * Add rows before those there are.
   * @param {any[]} rows The oldest first.
   * @param {boolean} isAll Whether no older ones are to be had.
   * @returns {number} How many were added; those that have no room are not.
   */
  addOlder(rows, isAll) {
    const taken = asRows(rows);
    const oldest = this.firstOffset;
    let added = 0;
    let hasRoom = true;
    for (let i = taken.length - 1; i >= 0 && hasRoom; i -= 1) {
      const row = taken[i];
      if (oldest !== null && typeof row[0] === "number" && row[0] >= oldest && kindOf(row[2]) !== GAP) continue;
      hasRoom = this._columns.prepend(row);
      if (hasRoom) {
        this._note(row);
        added += 1;
      }
    }
    if (hasRoom) this.hasOlder = !isAll;
    if (added > 0) {
      this._columns.retrace();
      this.traced += 1;
      this._tell();
    }
    return added;
  }

  /** Return a copy of its own that stands still, with room for as many older rows again. */
  frozen() {
    const copy = new LogStore({ capacity: 2 * this.capacity, heaviest: 2 * this._heaviest });
    copy._columns = this._columns.copy(copy.capacity, copy._heaviest);
    copy.components = this.components;
    copy.hasOlder = this.hasOlder;
    copy._newest = this._newest;
    return copy;
  }

  /**
   * Call a function after rows were added.
   * @param {() => void} listener
   * @returns {() => void} Ends it.
   */
  onChange(listener) {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  }

  _enqueue(rows, atEnd) {
    const wasIdle = this._queue.length === 0;
    this._queue.push({ rows, next: 0, atEnd });
    this._queued += rows.length;
    // Of a flood that is faster than the work, the oldest would be let go at once anyway.
    while (this._queued > 2 * this.capacity && this._queue.length > 1 && this._queue[0].atEnd === null) {
      const left = this._queue.shift();
      this._queued -= left.rows.length - left.next;
    }
    if (wasIdle) this._slices.now();
  }

  _work(until) {
    while (this._queue.length > 0) {
      const job = this._queue[0];
      while (job.next < job.rows.length) {
        const end = Math.min(job.rows.length, job.next + LOOKED_BACK);
        if (job.atEnd) for (let i = job.next; i < end; i += 1) this._take(this._filling, job.rows[i]);
        else this._addSome(job.rows, job.next, end);
        this._queued -= end - job.next;
        job.next = end;
        if (performance.now() >= until) break;
      }
      if (job.next < job.rows.length) {
        if (!job.atEnd) this._tell();
        return true;
      }
      job.atEnd?.();
      this._queue.shift();
    }
    this._tell();
    return false;
  }

  _addSome(rows, start, end) {
    const first = this._columns.first;
    let late = null;
    for (let i = start; i < end; i += 1) {
      const row = rows[i];
      const offset = row[0];
      if (typeof offset !== "number" || kindOf(row[2]) === GAP) {
        if (this._isHeldNearEnd(row)) continue;
        this._take(this._columns, row);
        if (row[3]?.cause === "relay_restart") this._isRestarted = true;
      } else if (offset > this._newest) {
        this._newest = offset;
        this._take(this._columns, row);
      } else {
        const place = this._place(offset);
        const isHeld = place < this.end && this.offset(place) === offset;
        const last = this.end > this.first ? this.time(this.end - 1) : -Infinity;
        // A relay that was started again has counted anew, maybe from before the gap's end on.
        if ((this._isRestarted || row[1] > last + LATE) && !(isHeld && this.time(place) === row[1])) {
          this._isRestarted = false;
          this._runStart = this.end;
          this._newest = offset;
          this._take(this._columns, row);
        } else if (!isHeld && (place > this.first || this.size < this.capacity)) {
          (late ??= []).push(row);
        }
      }
    }
    if (this._columns.first > first) this.hasOlder = true;
    if (late) this._insert(late);
  }

  /** Return the newest message of those held and those that wait to be; null: there is none. */
  _newestMessage() {
    const isMessage = (row) => ![GAP, SKIPPED].includes(kindOf(row[2]));
    for (const { rows, atEnd } of [...this._queue].reverse()) {
      const row = rows.findLast(isMessage);
      if (row || atEnd) return row ?? null;
    }
    for (let n = this.end - 1; n >= this.first; n -= 1) if (isMessage(this.row(n))) return this.row(n);
    return null;
  }

  _take(columns, row) {
    columns.append(row);
    this._note(row);
  }

  _note(row) {
    const component = textAt(row[3], "component");
    if (component && this.components.size < MOST_COMPONENTS && component.length <= 100) this.components.add(component);
  }

  /** Place rows that were missed where they belong; all rows get other numbers. */
  _insert(late) {
    late.sort((one, other) => one[0] - other[0]);
    const rows = [];
    let next = 0;
    for (let n = this.first; n < this.end; n += 1) {
      const offset = n >= this._runStart && this.kind(n) !== GAP ? this.offset(n) : NaN;
      for (; next < late.length && late[next][0] < offset; next += 1) {
        if (rows.at(-1)?.[0] !== late[next][0]) rows.push(late[next]);
      }
      rows.push(this.row(n));
    }
    const columns = new Columns(this.capacity, this._heaviest);
    for (const row of rows) this._take(columns, row);
    this._columns = columns;
    this.version += 1;
    this._findRun();
  }

  /** Return the number of the first row of the newest numbering with this offset or a later one. */
  _place(offset) {
    let low = Math.max(this.first, this._runStart);
    let high = this.end;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      let known = middle;
      while (known < high && (Number.isNaN(this.offset(known)) || this.kind(known) === GAP)) known += 1;
      if (known < high && this.offset(known) < offset) low = known + 1;
      else high = middle;
    }
    while (low < this.end && (Number.isNaN(this.offset(low)) || this.kind(low) === GAP)) low += 1;
    return low;
  }

  _findRun() {
    this._newest = -Infinity;
    this._runStart = this.first;
    let next = Infinity;
    for (let n = this.end - 1; n >= this.first; n -= 1) {
      const offset = this.offset(n);
      if (Number.isNaN(offset) || this.kind(n) === GAP) continue;
      if (this._newest === -Infinity) this._newest = offset;
      if (offset > next) {
        this._runStart = n + 1;
        return;
      }
      next = offset;
    }
  }

  _isHeldNearEnd(row) {
    for (let n = this.end - 1; n >= this.first && n >= this.end - LOOKED_BACK; n -= 1) {
      if (!isSameTime(this.time(n), row[1]) || this.channel(n) !== row[2]) continue;
      const kind = kindOf(row[2]);
      if (kind !== SKIPPED && kind !== GAP) return false;
      const part = (data) => JSON.stringify(kind === GAP ? data?.cause : data);
      if (part(this.data(n)) === part(row[3])) return true;
    }
    return false;
  }

  _tell() {
    for (const listener of [...this._listeners]) listener();
  }
}

function isSameTime(one, other) {
  return Math.abs(one - other) < ROUNDED;
}

function asRows(rows) {
  if (!Array.isArray(rows)) return [];
  return rows.every((row) => Array.isArray(row)) ? rows : rows.filter((row) => Array.isArray(row));
}
