/**
 * Which rows belong to one cycle of the daemon. A cycle is named by the number of the row that begins it.
 *
 * A log line and an event `cycle_starting` within two seconds are one start; what follows belongs to it until the next;
 * `backing_off` begins the cycle that follows it; the daemon's start and stop end one. Rows of other channels, and what
 * the relay says, belong to none.
 */

import { EVENTS, LOGS, STATS, nameOf } from "./log_kinds.js";

const ONE_START = 2; // seconds

const NONE = 0;
const MEMBER = 1;
const START_LOG = 2;
const START_EVENT = 3;
const BACKING_OFF = 4;
const END = 5;

/**
 * Return the part that a row plays, a small number to be kept beside it.
 * @param {number} kind
 * @param {any} data
 * @returns {number}
 */
export function roleOf(kind, data) {
  if (kind !== LOGS && kind !== EVENTS && kind !== STATS) return NONE;
  if (kind === STATS) return MEMBER;
  switch (nameOf(data)) {
    case "cycle_starting":
      return kind === LOGS ? START_LOG : START_EVENT;
    case "backing_off":
      return kind === LOGS ? BACKING_OFF : MEMBER;
    case "daemon_starting":
    case "daemon_stopped":
    case "daemon_stopping":
      return kind === LOGS ? END : MEMBER;
    default:
      return MEMBER;
  }
}

/**
 * Return the number that a store's cycle has in another store of the same rows, which may hold fewer of the older ones.
 * @param {object} store
 * @param {number} cycle
 * @param {object} other
 * @returns {number} NaN for NaN; -Infinity, which no row has: the other holds none of its rows.
 */
export function cycleIn(store, cycle, other) {
  if (Number.isNaN(cycle) || store === other) return cycle;
  for (let n = Math.min(store.end, other.end) - 1; n >= Math.max(store.first, other.first); n -= 1) {
    if (store.cycle(n) === cycle) return other.cycle(n);
  }
  return -Infinity;
}

/** Follows rows in their order and says to which cycle each belongs. */
export class CycleTracker {
  constructor() {
    this._cycle = NaN;
    this._startRole = NONE; // of the newest start; NONE once its other half has come
    this._startedAt = 0;
    this._isBackingOff = false;
  }

  /**
   * Take the next row.
   * @param {number} number Its number.
   * @param {number} role What `roleOf` told.
   * @param {number} at When it was received, Unix seconds.
   * @returns {number} Number of the row that begins its cycle; NaN: it belongs to none.
   */
  take(number, role, at) {
    switch (role) {
      case NONE:
        return NaN;
      case START_LOG:
      case START_EVENT: {
        const isOtherHalf = this._startRole !== NONE && this._startRole !== role && Math.abs(at - this._startedAt) <= ONE_START;
        if (isOtherHalf) {
          this._startRole = NONE;
          return this._cycle;
        }
        if (!this._isBackingOff) this._cycle = number;
        this._isBackingOff = false;
        this._startRole = role;
        this._startedAt = at;
        return this._cycle;
      }
      case BACKING_OFF:
        this._cycle = number;
        this._isBackingOff = true;
        this._startRole = NONE;
        return number;
      case END:
        this._cycle = NaN;
        this._isBackingOff = false;
        this._startRole = NONE;
        return NaN;
      default:
        return this._cycle;
    }
  }
}
