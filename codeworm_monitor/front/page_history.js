/**
 * Older rows for the page's log, from `GET /history`.
 */

import { lightened } from "./socket.js";

/** Pages asked for at most until enough is older, and until anything is. */
const MOST_PAGES = 8;
const MOST_EMPTY = 60;

/** Asks for what came before a row; remembers where the answer before ended. */
export class History {
  /**
   * @param {(path: string, query: Object<string, any>) => Promise<any>} get Asks the relay; throws an Error with words for a person.
   * @param {() => {epoch: string|null, base: number}} numbering Of the newest rows.
   * @param {(offset: number) => number|null} timeOf Returns when a row was read that the log holds, Unix seconds.
   */
  constructor(get, numbering, timeOf) {
    this._get = get;
    this._numbering = numbering;
    this._timeOf = timeOf;
    this._cursors = new Map(); // offset of the oldest row of an answer -> cursor of the page behind it
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
    const known = this._cursors.get(before);
    const query = { reverse: "true", limit };
    if (known !== undefined) {
      query.cursor = known;
    } else {
      const at = before === null ? null : this._timeOf(before);
      // Many may have been read at the same moment, so a little more is asked for than is wanted.
      if (at !== null) query.until = (at + 0.00001).toFixed(6);
    }
    const rows = [];
    try {
      for (let page = 0; page < (rows.length > 0 ? MOST_PAGES : MOST_EMPTY); page += 1) {
        const answer = await this._get("history", query);
        for (const one of Array.isArray(answer.entries) ? answer.entries : []) {
          const row = rowOf(one, epoch, base, before);
          if (row) rows.push(row);
        }
        query.cursor = answer.next ?? undefined;
        if (typeof answer.next !== "string" || rows.length >= limit) break;
      }
    } catch (error) {
      return { rows: [], isAll: false, problem: String(error.message) };
    }
    rows.reverse();
    const oldest = rows.find((row) => row[0] !== null)?.[0] ?? before;
    if (query.cursor !== undefined) this._cursors.set(oldest, query.cursor);
    return { rows, isAll: query.cursor === undefined, problem: null };
  }
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
