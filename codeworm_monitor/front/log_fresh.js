/**
 * Which rows are new: those behind the last one that was seen.
 */

/** Remembers the first live row not seen yet, also by its offset, by which it is found when rows get other numbers. */
export class FreshRows {
  /** @param {object} live */
  constructor(live) {
    this._live = live;
    this._version = live.version;
    this._offset = NaN;
    /** Rows from this number on are new. */
    this.from = live.end;
  }

  /** All before this number were seen. */
  see(number) {
    this.from = number;
    this._offset = number > this._live.first ? this._live.offset(number - 1) : NaN;
  }

  /** Follow rows that got other numbers. */
  renumber() {
    const live = this._live;
    if (this._version === live.version) return;
    this._version = live.version;
    this.from = this._offset >= 0 ? Math.min(live.end, live.find(this._offset) + 1) : live.end;
  }
}
