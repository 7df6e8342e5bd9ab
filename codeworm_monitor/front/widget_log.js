/**
 * The log panel as a widget in a notebook: rows come in numbered batches, what is lost on the way is asked for again.
 */

import { KernelLink, frame } from "./kernel_link.js";
import { StateSource } from "./state_source.js";

/** Batches kept behind a missing one; with more, everything is asked for anew. */
const MOST_WAITING = 64;
const RESEND_WITHIN = 3000;
const VIEW_EVERY = 250;
const ANSWER_WITHIN = 20_000;

/**
 * Puts batches into a store in their order.
 */
export class BatchFeed {
  /**
   * @param {{add: Function, fill: Function, goOn: Function}} store
   * @param {{send: Function, ask: Function}} link
   */
  constructor(store, link) {
    this._store = store;
    this._link = link;
    this._next = null; // number of the batch to come; null before the first fill
    this._waiting = new Map();
    this._timer = null;
  }

  /**
   * Replace everything. It may be meant for another page of the same notebook: where nothing before it was missed, only
   * what is newer is added.
   * @param {number} n It stands in the row of batches as one of this number, and holds all before it.
   * @param {any[]} rows
   * @param {boolean} isAll Whether no older ones are to be had.
   */
  fill(n, rows, isAll) {
    if (this._next === n + 1) return;
    const isWhole = this._next === n;
    this._next = n + 1;
    if (isWhole) this._store.goOn(rows, isAll);
    else this._store.fill(rows, isAll);
    for (const known of [...this._waiting.keys()]) if (known <= n) this._waiting.delete(known);
    this._drain();
  }

  /**
   * Add a batch, or keep it until those before it are here.
   * @param {number} n
   * @param {any[]} rows
   */
  batch(n, rows) {
    if (this._next === null || n < this._next) return;
    this._waiting.set(n, rows);
    this._drain();
  }

  /** Forget the numbering: a fill is to come. */
  reset() {
    this._next = null;
    this._waiting.clear();
    clearTimeout(this._timer);
    this._timer = null;
  }

  _drain() {
    while (this._waiting.has(this._next)) {
      const rows = this._waiting.get(this._next);
      this._waiting.delete(this._next);
      this._next += 1;
      this._store.add(rows);
    }
    if (this._waiting.size === 0) {
      clearTimeout(this._timer);
      this._timer = null;
    } else if (this._waiting.size > MOST_WAITING) {
      this._restart();
    } else if (this._timer === null) {
      this._link.send({ type: "resend", first: this._next, last: Math.min(...this._waiting.keys()) - 1 });
      this._timer = setTimeout(() => this._restart(), RESEND_WITHIN);
    }
  }

  _restart() {
    this.reset();
    this._link.ask();
  }
}

/**
 * Make what anywidget takes as a module's default.
 * @param {(el: HTMLElement, store: object, source: object) => (() => void)} renderLog
 * @param {new () => object} LogStore
 * @returns {() => {initialize: Function, render: Function}} The views of one model share its rows.
 */
export function logWidget(renderLog, LogStore) {
  return () => {
    const store = new LogStore();
    const link = new KernelLink();
    const clock = new StateSource();
    const feed = new BatchFeed(store, link);
    const asked = new Map();
    let number = 0;
    let view = null;
    let viewTimer = null;

    const forget = (problem) => {
      for (const answer of asked.values()) answer({ rows: [], isAll: false, problem });
      asked.clear();
    };
    const take = (content, buffers) => {
      const rows = content.rows ?? (buffers?.length ? parsed(buffers[0]) : []);
      if (content.type === "fill") {
        feed.fill(content.n, rows, content.is_all);
        link.heard();
      } else if (content.type === "batch") {
        feed.batch(content.n, rows);
      } else if (content.type === "older") {
        asked.get(content.id)?.({ rows, isAll: content.is_all, problem: content.problem });
        asked.delete(content.id);
      }
    };
    link.onChange(() => {
      if (link.isGone) {
        feed.reset();
        forget("the kernel is gone");
      }
    });

    const source = (model) => ({
      askOlder(before, count) {
        if (link.isGone) return Promise.resolve({ rows: [], isAll: false, problem: "the kernel is gone" });
        number += 1;
        const id = number;
        return new Promise((answer) => {
          const timer = setTimeout(() => {
            asked.delete(id);
            answer({ rows: [], isAll: false, problem: "the kernel does not answer" });
          }, ANSWER_WITHIN);
          asked.set(id, (told) => {
            clearTimeout(timer);
            answer(told);
          });
          link.send({ type: "older", id, before, count });
        });
      },
      setView(next) {
        view = next;
        viewTimer ??= setTimeout(() => {
          viewTimer = null;
          if (link.isCut) return;
          try {
            model.set("view", view);
            model.save_changes();
          } catch {
            // The panel was closed meanwhile: nobody is left to be told.
          }
        }, VIEW_EVERY);
      },
      // A view in a second cell, or after a reload, begins as the one before was left.
      get view() {
        return view ?? model.get("view");
      },
      capacityNote: "mon.logs.df",
      selectionName: "panel.selection",
      now: () => clock.now(),
    });

    return {
      initialize({ model }) {
        model.on("msg:custom", take);
        model.on("change:at", () => clock.set({}, model.get("at")));
        link.open(model);
        return () => {
          link.close();
          clearTimeout(viewTimer);
          link.isGone = true;
          feed.reset();
          forget("the panel was closed");
        };
      },
      render({ model, el }) {
        return frame(el, model, link, (place) => renderLog(place, store, source(model)));
      },
    };
  };
}

function parsed(buffer) {
  return JSON.parse(new TextDecoder().decode(buffer));
}
