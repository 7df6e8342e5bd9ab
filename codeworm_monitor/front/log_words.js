/**
 * What the log panel says in words: how many rows, why it stands still, what is new, why nothing is to be seen.
 */

import { h, setText, show } from "./dom.js";
import { count, counted } from "./format.js";

const DONE_FOR = 3000; // milliseconds

/** Reasons for standing still. */
export const WHY = {
  reader: "paused",
  eviction: "paused: the rows you read were about to make room for new ones",
  older: "paused: older rows have no room beside new ones",
};

/** Elements with words, and the buttons beside them. */
export class Words {
  /** @param {{onClear: () => void, onNew: () => void}} told */
  constructor({ onClear, onNew }) {
    this._done = "";
    this._timer = null;
    this._status = h("span", { class: "cwm-log-status" });
    this._notice = h("span", { class: "cwm-log-notice", hidden: true });
    this.aside = h("div", { class: "cwm-aside cwm-log-aside" }, this._notice, this._status);
    this.fresh = h("button", { type: "button", class: "cwm-log-new", hidden: true, title: "To the newest row (End)", onclick: () => onNew() });
    this._emptyText = h("span", {});
    this._clear = h("button", { type: "button", class: "cwm-log-button", text: "Clear filter", hidden: true, onclick: () => onClear() });
    this.empty = h("div", { class: "cwm-log-empty", hidden: true }, this._emptyText, this._clear);
  }

  /**
   * Say how things are.
   * @param {{held: number, shown: number, isAny: boolean, progress: number, selected: number, told: number,
   *   selectionName: string, paused: string}} state `progress`: part of the rows that the filter looked at; `told`: those of
   *   the selected rows that can be had at `selectionName`, "": nowhere.
   */
  update({ held, shown, isAny, progress, selected, told, selectionName, paused }) {
    const parts = [isAny ? counted(held, "row") : `${count(shown)} of ${counted(held, "row")}`];
    if (progress < 1) parts.push(`filtering ${Math.floor(progress * 100)} %`);
    parts.push(...selectedTexts(selected, told, selectionName));
    if (this._done) parts.push(this._done);
    setText(this._status, parts.join(" · "));
    setText(this._notice, WHY[paused] ?? "");
    show(this._notice, paused !== "");
    this._updateEmpty(held, shown === 0 && progress >= 1);
  }

  /**
   * Say how many rows are new.
   * @param {boolean} isShown
   * @param {number} fresh
   * @param {boolean} isMore Whether some of them are not held any more.
   */
  updateNew(isShown, fresh, isMore) {
    show(this.fresh, isShown);
    setText(this.fresh, fresh > 0 ? `${count(fresh)}${isMore ? "+" : ""} new ↓` : "to the end ↓");
  }

  /**
   * Say for a while what was done.
   * @param {string} text
   * @param {() => void} onOver
   */
  flash(text, onOver) {
    clearTimeout(this._timer);
    this._done = text;
    this._timer = setTimeout(() => {
      this._done = "";
      onOver();
    }, DONE_FOR);
  }

  /** End it. */
  close() {
    clearTimeout(this._timer);
  }

  _updateEmpty(held, isEmpty) {
    show(this.empty, isEmpty);
    if (!isEmpty) return;
    const none = "No rows yet: they appear here as soon as CodeWorm or the relay says something.";
    setText(this._emptyText, held === 0 ? none : `No row fulfils the filter: ${count(held)} held.`);
    show(this._clear, held > 0);
  }
}

function selectedTexts(selected, told, selectionName) {
  const text = `${count(selected)} selected`;
  if (!selectionName || told >= selected) return selected > 1 ? [text] : [];
  return [told === 0 ? `${text}, which ${selectionName} cannot tell` : `${text}, ${count(told)} of them in ${selectionName}`];
}
