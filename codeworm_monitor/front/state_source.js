/**
 * The newest state of a panel and the relay's time, whoever brings them: a notebook's model or a page's socket.
 */

/** Arrivals by which the relay's clock is judged: of more, a clock that was set would never be believed. */
const JUDGED = 32;

/** Holds the state, tells those who listen, and says what the relay's clock shows. */
export class StateSource {
  constructor() {
    this._state = {};
    this._listeners = new Set();
    this._skews = [];
    this._skew = 0;
  }

  /** @returns {any} The newest state; an empty object before the first. */
  get state() {
    return this._state;
  }

  /**
   * Take a new state.
   * @param {any} state
   * @param {any} [at] Unix seconds by the relay's clock when it was sent.
   */
  set(state, at) {
    this._state = state ?? {};
    if (typeof at === "number" && Number.isFinite(at) && at > 0) {
      this._skews.push(at - Date.now() / 1000);
      if (this._skews.length > JUDGED) this._skews.shift();
      // Each was some time under way, so the largest is nearest to the truth.
      this._skew = Math.max(...this._skews);
    }
    for (const listener of [...this._listeners]) {
      try {
        listener(this._state);
      } catch (error) {
        // One panel's trouble is not another's.
        queueMicrotask(() => { throw error; });
      }
    }
  }

  /**
   * Call a function at each new state.
   * @param {(state: any) => void} listener
   * @returns {() => void} Ends it.
   */
  onState(listener) {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  }

  /** @returns {number} Unix seconds by the relay's clock, as nearly as is known. */
  now() {
    return Date.now() / 1000 + this._skew;
  }
}
