/**
 * Older rows for the page's log, from `GET /history`.
 */

import { LogStore } from "./log_store.js";
import { lightened } from "./socket.js";

/** Pages asked for at most until enough is older, and until anything is. */
const MOST_PAGES = 8;
const MOST_EMPTY = 60;
/** Seconds by which a time may be off, as text has it. */
const ROUNDED = 0.00001;

/**
 * The log's rows, on the page. Rows of a former numbering have no offset, so the offset before which older rows are asked
 * for does not tell where they end: the store is looked at that asked, which is this one or a copy that stands still.
 */
export class PageStore extends LogStore {
  constructor(options) {
    super(options);
    this._asked = { by: this };
  }

  /** Who looked at its oldest row last: one does so just before it asks for older ones. */
  get asking() {
    return this._asked.by;
  }

  get firstOffset() {
    this._asked.by = this;
    return super.firstOffset;
  }

  frozen() {
    const copy = Object.setPrototypeOf(super.frozen(), PageStore.prototype);
    copy._asked = this._asked;
    return copy;
  }
}

/** Asks for what came before the oldest row held. */
export class History {
  /**
   * @param {(path: string, query: Object<string, any>) => Promise<any>} get Asks the relay; throws an Error with words for a person.
   * @param {() => {epoch: string|null, base: number}} numbering Of the newest rows.
   * @param {() => LogStore} asking Returns the store to which the answer will be added.
   */
  constructor(get, numbering, asking) {
    this._get = get;
    this._numbering = numbering;
    this._asking = asking;
    this._cursors = new WeakMap(); // payload of the oldest row of an answer, itself -> cursor of the page behind it
  }

  /**
   * Return rows before an offset, the oldest first.
   * @param {number|null} before
   * @param {number} count
   * @returns {Promise<{rows: any[], isAll: boolean, problem: string|null}>}
   */
  async older(before, count) {
    const { epoch, base } = this._numbering();
    const limit = Math.max(1, Math.min(5000, Math.floor(count) || 500));
    const query = { reverse: "true", limit };
    const { oldest, until, isHeld } = edgeOf(this._asking());
    const known = this._cursors.get(oldest);
    if (known !== undefined) query.cursor = known;
    // Many may have been read at the same moment, so a little more is asked for than is wanted.
    else if (until !== null) query.until = (until + ROUNDED).toFixed(6);
    const rows = [];
    try {
      for (let page = 0; page < (rows.length > 0 ? MOST_PAGES : MOST_EMPTY); page += 1) {
        const answer = await this._get("history", query);
        for (const one of Array.isArray(answer.entries) ? answer.entries : []) {
          const row = rowOf(one, epoch, base, before);
          // A cursor leads on exactly, and an offset tells by itself.
          if (row && (row[0] !== null || known !== undefined || !isHeld(row))) rows.push(row);
        }
        query.cursor = answer.next ?? undefined;
        if (typeof answer.next !== "string" || rows.length >= limit) break;
      }
    } catch (error) {
      this._cursors.delete(oldest); // maybe it is the cursor that does not serve
      return { rows: [], isAll: false, problem: String(error.message) };
    }
    rows.reverse();
    const reached = rows[0]?.[3];
    if (query.cursor !== undefined && typeof reached === "object" && reached !== null) this._cursors.set(reached, query.cursor);
    return { rows, isAll: query.cursor === undefined, problem: null };
  }
}

/** Return the payload of a store's oldest row, the time until which it holds none, and what knows its rows about there. */
function edgeOf(store) {
  let until = null;
  for (let n = store.first; n < store.end; n += 1) {
    if (Number.isFinite(store.time(n))) until = Math.max(until ?? -Infinity, store.time(n));
    if (store.channel(n) !== "gap" && store.channel(n) !== "skipped") break;
  }
  const held = new Map(); // time and channel -> rows by number
  for (let n = store.first; n < store.end && until !== null; n += 1) {
    if (store.time(n) > until + 2 * ROUNDED) break;
    const key = `${store.time(n)} ${store.channel(n)}`;
    if (!held.has(key)) held.set(key, { rows: [], counts: null });
    held.get(key).rows.push(n);
  }
  // Of several that are alike, each stands for one.
  const isHeld = (row) => {
    const alike = held.get(`${row[1]} ${row[2]}`);
    if (!alike) return false;
    alike.counts ??= countsOf(alike.rows.map((n) => JSON.stringify(store.data(n))));
    const text = JSON.stringify(row[3]);
    const count = alike.counts.get(text) ?? 0;
    if (count > 0) alike.counts.set(text, count - 1);
    return count > 0;
  };
  return { oldest: store.size > 0 ? store.data(store.first) : null, until, isHeld };
}

function countsOf(texts) {
  const counts = new Map();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return counts;
}

function rowOf(one, epoch, base, before) {
  if (typeof one !== "object" || one === null) return null;
  const told = one.gap ?? one;
  if (typeof told !== "object" || typeof (one.gap ? told.ended_at : told.received_at) !== "number") return null;
  // Numbers of another numbering mean nothing here; such rows are older than all of this one.
  const isOurs = one.epoch === epoch && typeof told.offset === "number";
  const offset = isOurs ? base + told.offset : null;
  if (isOurs && before !== null && offset >= before) return null;
  if (one.gap) {
    const isCounted = typeof told.first_offset === "number" && typeof told.last_offset === "number";
    const missed = isCounted && told.cause !== "relay_restart" ? told.last_offset - told.first_offset + 1 : null;
    return [offset, told.ended_at, "gap", { cause: told.cause, started_at: told.started_at, ended_at: told.ended_at, missed, detail: told.detail }];
  }
  return [offset, told.received_at, String(told.channel), lightened(told.data)];
}
