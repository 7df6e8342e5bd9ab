/**
 * Long work in short slices, between which the browser paints and answers.
 */

const channel = typeof MessageChannel === "function" ? new MessageChannel() : null;
const waiting = [];
if (channel) channel.port1.onmessage = () => waiting.shift()?.();

/**
 * Call a function soon, after the browser has had its turn. Unlike a timer's this is not slowed down in a hidden tab.
 * @param {() => void} work
 */
export function soon(work) {
  if (!channel) {
    setTimeout(work, 0);
    return;
  }
  waiting.push(work);
  channel.port2.postMessage(null);
}

/** Does a piece of work slice by slice until it says that nothing is left. */
export class Slices {
  /**
   * @param {(until: number) => boolean} work Works until `performance.now()` reaches `until`; true: more is left.
   * @param {number} [most] Milliseconds of one slice.
   */
  constructor(work, most = 6) {
    this._work = work;
    this._most = most;
    this._isPlanned = false;
    this._isClosed = false;
  }

  /** Begin, or go on, in a slice to come. */
  start() {
    if (this._isPlanned || this._isClosed) return;
    this._isPlanned = true;
    soon(() => {
      this._isPlanned = false;
      this.now();
    });
  }

  /** Do one slice at once, and the rest in those to come. */
  now() {
    if (!this._isClosed && this._work(performance.now() + this._most)) this.start();
  }

  /** End it; what is left stays undone. */
  close() {
    this._isClosed = true;
  }
}
