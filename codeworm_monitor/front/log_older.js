/**
 * Older rows, asked for when the reader reaches the beginning of the list.
 */

import { h, setText, show } from "./dom.js";
import { inert } from "./format.js";

/** Pixels of the line above the oldest row. */
export const HEAD = 24;
const AT_ONCE = 1000;

/** Asks for older rows, one request at a time, and says how it goes in the line above the oldest row. */
export class OlderRows {
  /**
   * @param {{askOlder: (before: number|null, count: number) => Promise<object>, capacityNote: string}} source
   * @param {() => void} onButton
   * @param {() => void} onChange
   */
  constructor(source, onButton, onChange) {
    this._source = source;
    this._onChange = onChange;
    this._state = "idle"; // idle, loading, problem, full
    this._problem = "";
    this._isClosed = false;
    this._asked = 0;
    this._text = h("span", { class: "cwm-log-older-text" });
    this._button = h("button", { type: "button", class: "cwm-log-button", text: "Load older rows", hidden: true, onclick: () => onButton() });
    this.el = h("div", { class: "cwm-log-older", hidden: true }, this._text, this._button);
  }

  get isLoading() {
    return this._state === "loading";
  }

  /**
   * Ask for the rows before a store's oldest one, and add them to it.
   * @param {object} store
   */
  async ask(store) {
    const before = store.firstOffset; // null: none of its rows has one, such as those of a former numbering alone
    if (this.isLoading || !store.hasOlder || store.size === 0) return;
    this._asked += 1;
    const number = this._asked;
    this._state = store.isFull ? "full" : "loading";
    this._onChange();
    if (!this.isLoading) return;
    let answer;
    try {
      answer = await this._source.askOlder(before, AT_ONCE);
    } catch (error) {
      answer = { rows: [], isAll: false, problem: String(error?.message ?? error) };
    }
    if (this._isClosed || number !== this._asked) return;
    const { rows = [], isAll = false, problem = null } = answer ?? {};
    this._state = problem ? "problem" : "idle";
    this._problem = inert(problem, 200);
    if (!problem) {
      const wanted = rows.length;
      const added = store.addOlder(rows, isAll || wanted === 0);
      if (added < wanted && store.isFull) this._state = "full";
    }
    this._onChange();
  }

  /** Forget how the last request went. */
  reset() {
    this._asked += 1;
    this._state = "idle";
  }

  /**
   * Show how it goes, in its place above the list.
   * @param {object} store
   * @param {number} scrolled Pixels that the list is scrolled.
   */
  draw(store, scrolled) {
    const isSeen = scrolled < HEAD && store.size > 0;
    show(this.el, isSeen);
    if (!isSeen) return;
    this.el.style.transform = `translateY(${-Math.round(scrolled)}px)`;
    const isProblem = this._state === "problem";
    let text = "";
    if (this._state === "loading") text = "loading older rows…";
    else if (isProblem) text = `older rows did not come: ${this._problem || "no reason given"}`;
    else if (this._state === "full") text = `no room for more rows here: all are in ${inert(this._source.capacityNote, 80)}`;
    else if (!store.hasOlder) text = "nothing older is kept";
    setText(this._text, text);
    setText(this._button, isProblem ? "Try again" : "Load older rows");
    show(this._button, isProblem || (this._state === "idle" && store.hasOlder));
    this.el.classList.toggle("cwm-log-problem", isProblem);
  }

  /** End it. */
  close() {
    this._isClosed = true;
  }
}
