/**
 * The rate of the log: rows by time, stacked by level, with gaps hatched and what is in sight marked.
 */

import { h, setAttribute, svg } from "./dom.js";
import { asTime, clock, counted, dateTime } from "./format.js";
import { GAP, LEVELS, SKIPPED } from "./log_kinds.js";

const EVERY = 250; // milliseconds between two drawings
const MOST_BUCKETS = 120;
const NARROWEST = 5; // pixels of a bucket
const HEIGHT = 36;
const ORDER = [5, 4, 3, 2, 0, 1]; // levels from the ground up: trouble stands on it, where it is compared best
const CLASSES = ["none", ...LEVELS];

/** Draws the strip and tells which time was chosen. */
export class RateStrip {
  /**
   * @param {(at: number) => void} onPick Unix seconds.
   * @param {() => void} onDue It wants to be drawn again.
   */
  constructor(onPick, onDue) {
    this._onPick = onPick;
    this._onDue = onDue;
    this._drawnAt = -Infinity;
    this._timer = null;
    this._width = 0;
    this._drawn = null; // {start, step, totals, troubles}
    this._cursor = null;
    this._time = clock; // with the date, where the rows are of several days
    this._paths = new Map(ORDER.map((level) => [level, svg("path", { class: `cwm-log-bar cwm-log-bar-${CLASSES[level]}` })]));
    this._gaps = svg("path", { class: "cwm-log-hatch" });
    this._sight = svg("rect", { class: "cwm-log-sight", y: "0.5", height: String(HEIGHT - 1), rx: "2" });
    this._at = svg("path", { class: "cwm-log-cursor" });
    this._picture = svg("svg", { class: "cwm-log-picture", height: String(HEIGHT), "aria-hidden": "true" });
    this._picture.append(this._gaps, ...this._paths.values(), this._sight, this._at);
    this._from = h("span", { class: "cwm-log-from" });
    this._to = h("span", { class: "cwm-log-to" });
    this._bar = h(
      "div",
      {
        ...{ class: "cwm-log-bars", role: "slider", tabindex: "0", "aria-label": "Rows by time: choose a time to go to" },
        ...{ "aria-valuemin": "0", "aria-valuemax": "0", "aria-valuenow": "0" },
        onclick: (event) => this._clicked(event),
        onkeydown: (event) => this._pressed(event),
        onpointermove: (event) => setAttribute(this._bar, "title", this._told(this._bucketAt(event))),
      },
      this._picture,
    );
    this.el = h("div", { class: "cwm-log-strip" }, this._bar, h("div", { class: "cwm-log-scale", "aria-hidden": "true" }, this._from, this._to));
    this._observer = new ResizeObserver(([entry]) => {
      this._width = Math.floor(entry.contentRect.width);
    });
    this._observer.observe(this._bar);
  }

  /** Draw with the next rows, however soon. */
  hurry() {
    this._drawnAt = -Infinity;
  }

  /** Draw as `draw` does, but not each time: it is work. */
  drawAtTimes(store, inSight) {
    const wait = this._drawnAt + EVERY - performance.now();
    if (wait > 0) {
      this._timer ??= setTimeout(() => {
        this._timer = null;
        this._onDue();
      }, wait);
      return;
    }
    this._drawnAt = performance.now();
    this.draw(store, inSight);
  }

  /**
   * Draw the rows of a store.
   * @param {object} store
   * @param {number[]|null} inSight Row numbers, the first and the last.
   */
  draw(store, inSight) {
    const width = this._width;
    if (width < NARROWEST) return;
    const count = Math.min(MOST_BUCKETS, Math.floor(width / NARROWEST));
    const span = spanOf(store);
    if (!span) {
      this._clear();
      return;
    }
    const [start, end] = span;
    const step = Math.max(0.001, (end - start) / count) * (1 + 1e-9);
    const heights = Array.from({ length: CLASSES.length }, () => new Float64Array(count));
    const totals = new Float64Array(count);
    for (let n = store.first; n < store.end; n += 1) {
      const kind = store.kind(n);
      const bucket = Math.floor((store.time(n) - start) / step);
      if (kind === GAP || kind === SKIPPED || !(bucket >= 0 && bucket < count)) continue;
      heights[store.level(n)][bucket] += 1;
      totals[bucket] += 1;
    }
    this._time = dateTime(start).slice(0, 10) === dateTime(end).slice(0, 10) ? clock : dateTime;
    this._drawn = { start, step, totals, heights, count };
    const x = (t) => Math.max(0, Math.min(width, ((t - start) / (step * count)) * width));
    this._drawBars(heights, totals, width / count);
    setAttribute(this._gaps, "d", gapPath(store, x));
    this._drawSight(store, inSight, x);
    this._drawCursor(width / count);
    setAttribute(this._picture, "viewBox", `0 0 ${width} ${HEIGHT}`);
    setAttribute(this._picture, "width", width);
    this._from.textContent = this._time(start);
    this._to.textContent = this._time(end);
  }

  /** End it. */
  close() {
    clearTimeout(this._timer);
    this._observer.disconnect();
  }

  _clear() {
    this._drawn = null;
    for (const path of [...this._paths.values(), this._gaps, this._at]) setAttribute(path, "d", null);
    setAttribute(this._sight, "width", "0");
    this._from.textContent = this._to.textContent = "";
  }

  _drawBars(heights, totals, wide) {
    const highest = Math.max(1, ...totals);
    const ground = new Float64Array(totals.length);
    for (const level of ORDER) {
      let d = "";
      for (let i = 0; i < totals.length; i += 1) {
        const rows = heights[level][i];
        if (rows === 0) continue;
        // One error among thousands of rows must still be seen.
        const tall = Math.max(level >= 3 ? 2 : 1, (rows / highest) * (HEIGHT - 6));
        const bottom = HEIGHT - ground[i];
        d += `M${round(i * wide)} ${round(bottom)}v${round(-tall)}h${round(Math.max(1, wide - 1))}v${round(tall)}z`;
        ground[i] += tall;
      }
      setAttribute(this._paths.get(level), "d", d || null);
    }
  }

  _drawSight(store, inSight, x) {
    const [first, last] = inSight ?? [NaN, NaN];
    const from = x(store.time(first));
    const to = x(store.time(last));
    const isKnown = inSight !== null && Number.isFinite(from) && Number.isFinite(to);
    setAttribute(this._sight, "x", round(isKnown ? Math.min(from, to) : 0));
    setAttribute(this._sight, "width", isKnown ? round(Math.max(3, Math.abs(to - from))) : "0");
  }

  _drawCursor(wide) {
    const { count, step, start } = this._drawn;
    if (this._cursor !== null && !(this._cursor >= start && this._cursor < start + count * step)) this._cursor = null;
    const bucket = this._cursor === null ? count - 1 : Math.floor((this._cursor - start) / step);
    setAttribute(this._at, "d", this._cursor === null ? null : `M${round((bucket + 0.5) * wide)} 0v${HEIGHT}`);
    // A screen reader would read each flush's rows out to who has only come here.
    if (this._cursor === null && this._bar.hasAttribute("aria-valuetext") && this._bar.matches(":focus")) return;
    setAttribute(this._bar, "aria-valuemax", count - 1);
    setAttribute(this._bar, "aria-valuenow", bucket);
    setAttribute(this._bar, "aria-valuetext", this._told(bucket));
  }

  _told(bucket) {
    if (!this._drawn || !(bucket >= 0 && bucket < this._drawn.count)) return "no rows";
    const { start, step, totals, heights } = this._drawn;
    const errors = heights[4][bucket] + heights[5][bucket];
    return `${this._time(start + bucket * step)}: ${counted(totals[bucket], "row")}${errors > 0 ? `, ${counted(errors, "error")}` : ""}`;
  }

  _bucketAt(event) {
    if (!this._drawn) return -1;
    const box = this._bar.getBoundingClientRect();
    const part = (event.clientX - box.left) / Math.max(1, box.width);
    return Math.max(0, Math.min(this._drawn.count - 1, Math.floor(part * this._drawn.count)));
  }

  _clicked(event) {
    this._choose(this._bucketAt(event));
  }

  _pressed(event) {
    if (!this._drawn || event.ctrlKey || event.metaKey || event.altKey) return;
    const { count, start, step } = this._drawn;
    const now = this._cursor === null ? count - 1 : Math.floor((this._cursor - start) / step);
    const moves = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, Home: 0, End: count - 1, PageDown: now - 10, PageUp: now + 10 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    event.stopPropagation();
    this._choose(Math.max(0, Math.min(count - 1, moves[event.key])));
  }

  _choose(bucket) {
    if (bucket < 0 || !this._drawn) return;
    const at = this._drawn.start + bucket * this._drawn.step;
    this._cursor = at + this._drawn.step / 2;
    this._onPick(at);
  }
}

/** Return the times between which the rows lie, or null if no row has a time. */
function spanOf(store) {
  let start = Infinity;
  let end = -Infinity;
  for (let n = store.first; n < store.end; n += 1) {
    const at = store.time(n);
    if (asTime(at) === null) continue;
    if (at < start) start = at;
    if (at > end) end = at;
  }
  if (start === Infinity) return null;
  return [start, Math.max(end, start + 1)];
}

function gapPath(store, x) {
  if (store.gapCount === 0) return null;
  let d = "";
  let hatched = -1;
  for (let n = store.first; n < store.end; n += 1) {
    if (store.kind(n) !== GAP) continue;
    const data = store.data(n);
    const end = asTime(data?.ended_at) ?? store.time(n);
    const from = Math.max(hatched, x(asTime(data?.started_at) ?? end));
    const to = Math.max(from + 3, x(end));
    if (!Number.isFinite(to)) continue;
    for (let at = from; at < to; at += 4) d += `M${round(at)} ${HEIGHT}l${round(Math.min(8, to - at + 3))} ${-HEIGHT}`;
    hatched = to;
    if (d.length > 20_000) break;
  }
  return d || null;
}

function round(number) {
  return String(Math.round(number * 10) / 10);
}
