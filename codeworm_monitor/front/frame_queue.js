/**
 * Frames on their way from a socket into the log: read in slices, so that the page answers whatever comes.
 */

/** Milliseconds of one slice, and between two that hand on rows. */
const SLICE = 8;
const EVERY = 200;
/** Characters of frames that may wait unread, and rows handed on at one time; of more, the oldest are left out. */
const MOST_WAITING = 24 * 2 ** 20;
const MOST_ROWS = 10_000;
const HEAD = /^\{"type":"batch","envelopes":\[\{"offset":(\d+),/;

/** Reads frames in their order, and hands on their rows a few times a second. */
export class FrameQueue {
  /**
   * @param {object} options
   * @param {(frame: any, size: number) => any[]} options.take Takes a frame and its length in characters, returns its rows.
   * @param {(rows: any[], skipped: number) => void} options.flush Takes rows, and how many before them were left out.
   * @param {number} [options.mostWaiting]
   * @param {number} [options.mostRows]
   */
  constructor({ take, flush, mostWaiting = MOST_WAITING, mostRows = MOST_ROWS }) {
    this._take = take;
    this._give = flush;
    this._mostWaiting = mostWaiting;
    this._mostRows = mostRows;
    this._texts = [];
    this._next = 0;
    this._size = 0;
    this._rows = [];
    this._skipped = 0;
    this._timer = null;
    this._flushTimer = null;
    this._isPosted = false;
    // A timer of a hidden tab may wait a minute; a message to oneself does not.
    this._channel = new MessageChannel();
    this._channel.port1.onmessage = () => {
      this._isPosted = false;
      this._work(performance.now() + SLICE);
    };
  }

  /**
   * Add a frame.
   * @param {any} text
   */
  push(text) {
    if (typeof text !== "string") return;
    this._texts.push(text);
    this._size += text.length;
    if (this._size > this._mostWaiting) this._leaveOut();
    this._post();
  }

  /** Read and hand on all there is, at once: no more will come. */
  drain() {
    this._work(Infinity);
    this._flush();
  }

  _post() {
    if (this._isPosted) return;
    this._isPosted = true;
    this._channel.port2.postMessage(null);
  }

  /** Leave out the older half of what waits, unread; only batches, and only where their offsets tell how many that is. */
  _leaveOut() {
    const kept = [];
    let size = this._size;
    for (let i = this._next; i < this._texts.length; i += 1) {
      const text = this._texts[i];
      const first = offsetOf(text);
      const next = i + 1 < this._texts.length ? offsetOf(this._texts[i + 1]) : null;
      if (size > this._mostWaiting / 2 && first !== null && next !== null && next > first) {
        size -= text.length;
        this._skipped += next - first;
      } else {
        kept.push(text);
      }
    }
    this._texts = kept;
    this._next = 0;
    this._size = size;
  }

  _work(until) {
    while (this._next < this._texts.length) {
      const text = this._texts[this._next];
      this._next += 1;
      this._size -= text.length;
      let frame = null;
      try {
        frame = JSON.parse(text);
      } catch {
        // What cannot be read is no frame; offsets tell if it was one that matters.
      }
      const rows = this._take(frame, text.length);
      for (const row of rows) this._rows.push(row);
      if (performance.now() >= until) break;
    }
    if (this._next >= this._texts.length) {
      this._texts = [];
      this._next = 0;
    } else {
      this._post();
    }
    if (this._rows.length > 2 * this._mostRows) this._thin(); // a hidden tab's timers may wait a minute
    if (this._rows.length > 0) this._flushTimer ??= setTimeout(() => this._flush(), EVERY);
  }

  /** Leave out the oldest of too many rows, but no gap. */
  _thin() {
    const more = this._rows.length - this._mostRows;
    if (more <= 0) return;
    const gaps = this._rows.slice(0, more).filter((row) => row[2] === "gap");
    this._skipped += more - gaps.length;
    this._rows = [...gaps, ...this._rows.slice(more)];
  }

  _flush() {
    clearTimeout(this._flushTimer);
    this._flushTimer = null;
    this._thin();
    const rows = this._rows;
    this._rows = [];
    const skipped = this._skipped;
    this._skipped = 0;
    if (rows.length > 0 || skipped > 0) this._give(rows, skipped);
  }
}

/** Return the offset of the first row of a batch, or null for another frame. */
function offsetOf(text) {
  const match = HEAD.exec(text.slice(0, 80));
  return match ? Number(match[1]) : null;
}
