/**
 * The relay's WebSocket, spoken in v2: rows for the log, and how the connection is.
 *
 * Rows come in their order, and none twice, also over reconnections: after a loss the socket resumes behind the newest
 * entry that it took. Of a flood that is faster than the browser, the oldest are left out, and a "skipped" row says so.
 */

import { FrameQueue } from "./frame_queue.js";

const PROTOCOL = "codeworm.v2";
const TOKEN = "codeworm.token.";
/** Rows asked for at first. */
const TAIL = 5000;
/** From this close code on the relay does not want to see us again. */
const FOR_GOOD = 4500;
const OPEN_WITHIN = 10;
/** Seconds in which a connection must say something after the page woke. */
const WAKE_WITHIN = 5;
const LONGEST_PAUSE = 10;
const SLOWEST_PAUSE = 30;
const HEALTHY_AFTER = 5;
const RATE_OVER = 10;

/** Connects, and connects again until closed. Times are Unix seconds by the relay's clock where they come from it. */
export class RelaySocket {
  /**
   * @param {object} options
   * @param {string} options.url Of the WebSocket.
   * @param {() => string|null} options.token What to present; null: nothing.
   * @param {(rows: any[]) => void} options.onRows Takes rows `[offset, received_at, channel, data]`.
   * @param {() => void} options.onChange Called when the connection, or what is known of it, is another.
   * @param {() => Promise<{status: number, text: string}|null>} options.ask Asks the relay by HTTP why it does not let us in.
   * @param {(at: number) => void} options.onTime Takes the relay's time.
   * @param {() => number} options.now The relay's time, as nearly as is known.
   */
  constructor(options) {
    this._options = options;
    /** "connecting", "connected", "reconnecting", "refused" or "closed"; since when; why; when it is tried again. */
    this.state = "connecting";
    this.since = options.now();
    this.reason = "";
    this.retryAt = null;
    this.reconnects = 0;
    this.version = "";
    /** Whether the relay wants a token, or another one. */
    this.wantsToken = false;
    this.received = 0;
    this.skipped = 0;
    this.lag = null;
    /** Gaps that came over this socket, the newest first. */
    this.gaps = [];
    this.gapCount = 0;
    this._epoch = null;
    this._offset = null; // newest that was taken, in the relay's numbering
    this._base = 0; // what is added to make offsets ascend over all numberings
    this._newest = 0;
    this._failures = 0;
    this._socket = null;
    this._timer = null;
    this._turn = 0; // of connections: what a former one finds out late does not count
    this._counts = new Map(); // rows by the second in which the relay read them
    this._queue = new FrameQueue({
      take: (frame, size) => this._take(frame, size),
      flush: (rows, skipped) => this._flush(rows, skipped),
    });
    this._watch = setInterval(() => this._look(), 1000);
    this._looked = performance.now();
  }

  /** Identity of the numbering of the newest rows, and what was added to its offsets. */
  get numbering() {
    return { epoch: this._epoch, base: this._base };
  }

  /** Rows a second that the relay read in the last ten whole seconds. */
  get rate() {
    const now = Math.floor(this._options.now());
    let sum = 0;
    for (const [second, count] of this._counts) {
      if (second < now - 2 * RATE_OVER) this._counts.delete(second);
      else if (second >= now - RATE_OVER && second < now) sum += count;
    }
    return sum / RATE_OVER;
  }

  /** Connect now, whatever was to be waited for. */
  connect() {
    clearTimeout(this._timer);
    this._leave();
    this._turn += 1;
    const token = this._options.token();
    this.retryAt = null;
    this._say(this.state === "connected" || this.reconnects > 0 || this._epoch !== null ? "reconnecting" : "connecting", this.reason);
    let socket;
    try {
      socket = new WebSocket(this._options.url, token === null ? [PROTOCOL] : [PROTOCOL, TOKEN + token]);
    } catch (error) {
      this.wantsToken = error.name === "SyntaxError";
      this._say("refused", this.wantsToken ? "This is no token." : String(error.message));
      return;
    }
    this._socket = socket;
    this._openedAt = null;
    this._heardAt = performance.now();
    this._patience = this._usualPatience = OPEN_WITHIN; // seconds
    this._isGreeted = false;
    this._problem = "";
    socket.onopen = () => {
      if (socket === this._socket) this._openedAt = this._heardAt = performance.now();
    };
    socket.onmessage = (event) => {
      if (socket !== this._socket) return;
      this._heardAt = performance.now();
      this._patience = this._usualPatience;
      this._queue.push(event.data);
    };
    socket.onclose = (event) => {
      if (socket === this._socket) this._lost(event.code, event.reason);
    };
  }

  /** Try again at once if it is being waited, and see whether the connection lives: after a sleep, or a change of network. */
  wake() {
    if (this._socket === null) {
      if (this.state === "reconnecting" || this.state === "connecting") this.connect();
    } else if (this._openedAt !== null && this._isGreeted) {
      this._patience = Math.min(this._patience, WAKE_WITHIN);
      this._heardAt = performance.now();
      this._send({ type: "ping" });
    }
  }

  /** Leave until `connect` is called. */
  rest() {
    clearTimeout(this._timer);
    this._leave();
    this._turn += 1;
    this._queue.drain();
    this.retryAt = null;
    this._say("reconnecting", "The page was put aside.");
  }

  _leave() {
    const socket = this._socket;
    this._socket = null;
    socket?.close(1000);
  }

  _send(frame) {
    if (this._socket?.readyState === WebSocket.OPEN) this._socket.send(JSON.stringify(frame));
  }

  _say(state, reason) {
    if (state !== this.state) this.since = this._options.now();
    this.state = state;
    this.reason = reason;
    this._options.onChange();
  }

  /** Give up a connection on which nothing is heard; the relay's heartbeat tells that its hub lives, not just its socket. */
  _look() {
    const now = performance.now();
    const wasAsleep = now - this._looked > 5000;
    this._looked = now;
    if (this._socket === null) return;
    if (wasAsleep) this._heardAt = now; // what came meanwhile is about to be told
    if (now - this._heardAt > 1000 * this._patience) {
      const what = this._isGreeted ? "Nothing was heard for too long." : "The relay does not answer.";
      this._leave();
      this._lost(0, what);
    } else if (this.state === "connected") {
      this._options.onChange();
    }
  }

  async _lost(code, said) {
    this._socket = null;
    this._queue.drain();
    const wasOpen = this._openedAt !== null;
    const reason = this._problem || said || (wasOpen ? `The connection was lost (${code}).` : "The relay cannot be reached.");
    if (code >= FOR_GOOD) {
      this._say("closed", `The relay does not want this page to come back: ${reason} (${code})`);
      return;
    }
    if (this._isGreeted && performance.now() - this._openedAt > 1000 * HEALTHY_AFTER) this._failures = 0;
    this._failures += 1;
    this._say(this._epoch === null ? "connecting" : "reconnecting", reason);
    if (!wasOpen) {
      // A browser does not tell a script why a handshake failed.
      const turn = this._turn;
      const answer = await this._options.ask();
      if (turn !== this._turn) return;
      if (answer?.status === 401) {
        this.wantsToken = true;
        this._say("refused", answer.text);
        return;
      }
      if (answer?.status >= 400) {
        this._say("refused", answer.text);
        this._again(SLOWEST_PAUSE, 2);
        return;
      }
      if (answer !== null) this._say(this.state, "The relay answers, but its WebSocket does not open: does a proxy in between let it through?");
    }
    this._again(LONGEST_PAUSE, 0.1);
  }

  _again(longest, least) {
    const bound = Math.min(longest, Math.max(2 * least, 0.5) * 2 ** Math.min(this._failures - 1, 10));
    const pause = least + Math.random() * Math.max(0, bound - least);
    this.retryAt = this._options.now() + pause;
    this._timer = setTimeout(() => this.connect(), 1000 * pause);
    this._options.onChange();
  }

  /** Take a frame; return the rows in it. */
  _take(frame, size) {
    switch (frame?.type) {
      case "hello":
        return this._greet(frame);
      case "subscribed":
        return this._begin(frame);
      case "batch":
        return this._batch(frame, size);
      case "gap":
        return this._gap(frame);
      case "position":
        if (typeof frame.offset === "number") this._advance(frame.offset);
        return [];
      case "pong":
        if (typeof frame.time === "number") this._options.onTime(frame.time);
        return [];
      case "error":
        this._problem = typeof frame.message === "string" ? frame.message.slice(0, 300) : "";
        return [];
      default:
        return []; // of a newer relay
    }
  }

  _greet(frame) {
    if (typeof frame.epoch !== "string") return [];
    const heartbeat = frame.limits?.heartbeat_seconds;
    this._patience = this._usualPatience = 2.5 * (heartbeat > 0 && heartbeat <= 86400 ? heartbeat : 15);
    this._isGreeted = true;
    this.version = typeof frame.version === "string" ? frame.version : "";
    if (typeof frame.time === "number") this._options.onTime(frame.time);
    const since = this._epoch === null ? { tail: TAIL } : { cursor: `${this._epoch}:${this._offset}` };
    this._send({ type: "subscribe", since });
    if (this._epoch !== null) this.reconnects += 1;
    this.wantsToken = false;
    return [];
  }

  _begin(frame) {
    const [, epoch, offset] = /^(.*):(\d+)$/.exec(frame.cursor) ?? [];
    if (epoch === undefined) return [];
    if (this._epoch !== null && (epoch !== this._epoch || Number(offset) < this._offset)) this._base = this._newest;
    this._epoch = epoch;
    this._offset = Number(offset);
    this._isLive = false;
    this._say("connected", "");
    return [];
  }

  _batch(frame, size) {
    const rows = [];
    for (const one of Array.isArray(frame.envelopes) ? frame.envelopes : []) {
      if (typeof one?.offset !== "number" || typeof one.received_at !== "number" || one.offset <= this._offset) continue;
      this._advance(one.offset);
      rows.push([this._base + one.offset, one.received_at, String(one.channel), one.data]);
    }
    if (rows.length > 0) {
      this.received += rows.length;
      this._count(rows);
      const late = this._options.now() - rows[rows.length - 1][1];
      // What comes at first, or after a loss, is old without being late.
      if (late < 2) this._isLive = true;
      if (this._isLive) this.lag = Math.max(0, late);
      if (size - 400 * rows.length > LARGEST) for (const row of rows) row[3] = lightened(row[3]);
    }
    return rows;
  }

  _count(rows) {
    const from = this._options.now() - 2 * RATE_OVER;
    for (const [, at] of rows) {
      const second = Math.floor(at);
      if (second >= from) this._counts.set(second, (this._counts.get(second) ?? 0) + 1);
    }
  }

  _gap(frame) {
    if (typeof frame.offset === "number") {
      if (frame.offset <= this._offset) return [];
      this._advance(frame.offset);
    } else if (typeof frame.last_offset === "number") {
      this._advance(frame.last_offset);
    }
    const isCounted = typeof frame.first_offset === "number" && typeof frame.last_offset === "number";
    const missed = isCounted && frame.cause !== "relay_restart" ? frame.last_offset - frame.first_offset + 1 : null;
    const told = { cause: frame.cause, started_at: frame.started_at, ended_at: frame.ended_at, missed, detail: frame.detail };
    this.gaps.unshift(told);
    this.gaps.length = Math.min(this.gaps.length, 20);
    this.gapCount += 1;
    return [[typeof frame.offset === "number" ? this._base + frame.offset : null, frame.ended_at, "gap", told]];
  }

  _advance(offset) {
    this._offset = Math.max(this._offset, offset);
    this._newest = this._base + this._offset;
  }

  _flush(rows, skipped) {
    if (skipped > 0) {
      this.skipped += skipped;
      const at = rows.length > 0 ? rows[0][1] : this._options.now();
      rows.unshift([null, at, "skipped", { count: skipped }]);
    }
    if (rows.length > 0) this._options.onRows(rows);
  }
}

/** Characters of a payload's JSON above which its main fields stand for it. */
const LARGEST = 64 * 1024;
const MAIN = ["event", "type", "level", "component", "timestamp", "target", "repo", "doc_type", "error", "exception", "raw"];

/**
 * Return a payload, or of one that is very large its main fields, cut, and `truncated`, how long it is.
 * @param {any} payload
 * @returns {any}
 */
export function lightened(payload) {
  const size = JSON.stringify(payload)?.length ?? 0;
  if (size <= LARGEST) return payload;
  const fields = typeof payload === "object" && payload !== null && !Array.isArray(payload) ? payload : { raw: payload };
  const kept = {};
  for (const name of MAIN) {
    const value = fields[name];
    if (typeof value === "string") kept[name] = value.slice(0, 2000);
    else if (typeof value === "number" || typeof value === "boolean") kept[name] = value;
  }
  return { ...kept, truncated: size };
}
