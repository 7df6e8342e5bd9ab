/**
 * What a screen reader is told of new rows: seldom, and in one line.
 */

import { h, setText } from "./dom.js";
import { counted } from "./format.js";

const EVERY = 5000; // milliseconds

/** Says how many rows came since it last spoke. */
export class Announcer {
  /** @param {() => {store: object, isPaused: boolean}} look */
  constructor(look) {
    this.el = h("div", { class: "cwm-log-announcer", role: "status" });
    this._look = look;
    this._end = look().store.end;
    this._version = look().store.version;
    this._timer = setInterval(() => this._speak(), EVERY);
  }

  /**
   * Say something at once.
   * @param {string} text
   */
  say(text) {
    setText(this.el, text);
  }

  /** End it. */
  close() {
    clearInterval(this._timer);
  }

  _speak() {
    const { store, isPaused } = this._look();
    const rows = store.version === this._version ? store.end - this._end : 0;
    let errors = 0;
    for (let n = Math.max(store.first, store.end - rows); n < store.end; n += 1) if (store.level(n) >= 4) errors += 1;
    this._end = store.end;
    this._version = store.version;
    if (rows > 0 && !isPaused) this.say(`${counted(rows, "new row")}${errors > 0 ? `, ${counted(errors, "error")}` : ""}`);
  }
}
