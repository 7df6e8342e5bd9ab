/**
 * A widget's link to its kernel: whether it has answered since the page was loaded, and whether it is gone.
 */

import { h, setText, show } from "./dom.js";

const PATIENCE = 1500;
const GONE = "The kernel was restarted or is gone: run the cell again. What you see is the last that it told.";
const WAITING = "waiting for the kernel…";

/** Asks the kernel for what there is until it answers, and watches the line to it. */
export class KernelLink {
  constructor() {
    this.isGone = false;
    this._isLate = false;
    this._isAnswered = false;
    this._wait = 2000;
    this._timer = null;
    this._send = null;
    this._whole = null;
    this._listeners = new Set();
  }

  /**
   * Begin to ask.
   * @param {object} model The one that `initialize` was given.
   */
  open(model) {
    this._send = (message) => model.send(message);
    this._ask();
    this._late = setTimeout(() => {
      this._isLate = true;
      this._tell();
    }, PATIENCE);
    // The model behind the one given knows its line to the kernel. It is there only once this has returned.
    model.widget_manager.get_model(model.get("key")).then((whole) => {
      this._whole = whole;
      const look = () => {
        const isGone = whole.comm_live === false;
        if (isGone === this.isGone) return;
        this.isGone = isGone;
        if (!isGone) this.ask();
        this._tell();
      };
      whole.on("comm_live_update", look);
      look();
    }, () => {});
  }

  /** End it: the model is no more. */
  close() {
    clearTimeout(this._timer);
    clearTimeout(this._late);
  }

  /** Ask for everything again. */
  ask() {
    this._isAnswered = false;
    this._wait = 2000;
    this._ask();
  }

  /** Note that the kernel said something. */
  heard() {
    if (this._isAnswered) return;
    this._isAnswered = true;
    clearTimeout(this._timer);
    clearTimeout(this._late);
    this._tell();
  }

  /**
   * Send a message; if the kernel is gone, nothing.
   * @param {object} message
   */
  send(message) {
    if (this.isCut || !this._send) return;
    try {
      this._send(message);
    } catch {
      // A line that has just been cut: the widget's model says so next.
    }
  }

  /** @returns {boolean} Whether nothing can be sent: a notebook that is closed cuts the line without a word. */
  get isCut() {
    return this.isGone || this._whole?.comm?.jsServicesComm?.isDisposed === true;
  }

  /** @returns {string} What a person should know of the line to the kernel; "" if all is well. */
  get notice() {
    if (this.isGone) return GONE;
    return this._isAnswered || !this._isLate ? "" : WAITING;
  }

  /**
   * Call a function whenever `notice` may have changed.
   * @param {() => void} listener
   * @returns {() => void} Ends it.
   */
  onChange(listener) {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  }

  _ask() {
    clearTimeout(this._timer);
    this.send({ type: "ready" });
    this._timer = setTimeout(() => this._ask(), this._wait);
    this._wait = Math.min(15000, this._wait * 2);
  }

  _tell() {
    for (const listener of [...this._listeners]) listener();
  }
}

/**
 * Put a panel into a cell's output, with what is to be said of the kernel above it and its problem below.
 * @param {HTMLElement} el
 * @param {object} model
 * @param {KernelLink} link
 * @param {(el: HTMLElement) => (() => void)} render Fills the panel's place, and returns what clears it.
 * @returns {() => void} Ends it.
 */
export function frame(el, model, link, render) {
  const notice = h("div", { class: "cwm-panel cwm-notice", role: "status" });
  const place = h("div", { class: "cwm-place" });
  const problem = h("div", { class: "cwm-panel cwm-notice cwm-problem", role: "status" });
  el.classList.add("cwm-widget");
  el.replaceChildren(notice, place, problem);
  const look = () => {
    setText(notice, link.notice);
    show(notice, link.notice !== "");
    const trouble = String(model.get("problem") ?? "");
    setText(problem, trouble);
    show(problem, trouble !== "");
  };
  const unlink = link.onChange(look);
  model.on("change:problem", look);
  look();
  const dispose = render(place);
  return () => {
    unlink();
    model.off("change:problem", look);
    dispose?.();
  };
}
