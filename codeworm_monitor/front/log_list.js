/**
 * The list of the log: only the lines in sight are in the document, whatever the number of rows.
 *
 * What is held in its place is a row, not a pixel: rows that come, go, or are put before the first do not move what is
 * read. At the end the list follows the newest row, until the reader scrolls up.
 */

import { h, setAttribute } from "./dom.js";
import { HEAD } from "./log_older.js";
import { ONE_LINE, RowNode, TWO_LINES } from "./log_row.js";

const NARROW = 520; // pixels of width up to which a row has two lines
const BEYOND = 6; // lines kept above and below those in sight
const HIDDEN_EVERY = 200; // milliseconds between two looks at whether a hidden list is visible again
const LATELY = 2000; // milliseconds in which a reader's hand may still move the list
let lists = 0;

/** A scrolling list of the rows of an index. */
export class LogList {
  /**
   * @param {{onScroll: () => void, onTop: () => void, onPick: (number: number, event: MouseEvent) => void,
   *   onOpen: (number: number) => void, onHover: () => void, capacityNote: () => string}} told
   */
  constructor(told) {
    lists += 1;
    this._id = `cwm-log-${lists}`;
    this._told = told;
    this.isFollowing = true;
    this._anchor = null; // {number, delta}: pixels from the row's upper edge to that of what is in sight
    this._written = 0;
    this._height = 0;
    this._width = 0;
    this._rowHeight = ONE_LINE;
    this._total = 0;
    this._nodes = [];
    this._start = 0; // place of the first node
    this._index = null;
    this._store = null;
    this._pointerY = null;
    this._touchedAt = -Infinity;
    this._isDragged = false; // by its scroll bar
    this._pressed = null; // number of the row on which the pointer went down
    this._isPicked = false; // that row, at once
    this._window = h("div", { class: "cwm-log-window", role: "presentation" });
    this._spacer = h("div", { class: "cwm-log-spacer", role: "presentation" }, this._window);
    this.el = h(
      "div",
      {
        ...{ class: "cwm-log-list", role: "listbox", tabindex: "0", "aria-multiselectable": "true" },
        ...{ "aria-label": "Rows of the log", "aria-live": "off" },
        onscroll: () => this._scrolled(),
        onwheel: (event) => this._wheeled(event),
        ...Object.fromEntries(["onpointerup", "onpointercancel", "ontouchmove", "onkeydown"].map((name) => [name, () => this._touch()])),
        onpointerdown: (event) => this._pressedOn(event),
        onclick: (event) => this._clicked(event),
        ondblclick: () => {
          if (this._pressed !== null) told.onOpen(this._pressed);
        },
        onpointermove: (event) => {
          if (event.buttons === 0) this._isDragged = false;
          this._pointed(event.clientY - this.el.getBoundingClientRect().top);
        },
        onpointerleave: () => this._pointed(null),
      },
      this._spacer,
    );
    this._observer = new ResizeObserver(([entry]) => {
      this._height = entry.contentRect.height;
      this._width = entry.contentRect.width;
      told.onScroll();
    });
    this._observer.observe(this.el);
  }

  /** Whether the beginning of the list is in sight. */
  get isAtTop() {
    return this._written < HEAD;
  }

  /** Whether there is more than is in sight. */
  get isScrollable() {
    return this._total > this._height;
  }

  /** Pixels scrolled. */
  get scrolled() {
    return this._written;
  }

  /** Lines that are wholly in sight. */
  get page() {
    return Math.max(1, Math.floor(this._height / this._rowHeight) - 1);
  }

  /** Number of the row held in its place, or null when the newest is followed. */
  get anchor() {
    return this.isFollowing ? null : (this._anchor?.number ?? null);
  }

  /** Row numbers in sight, the first and the last; null: none. */
  get inSight() {
    const seen = this._nodes.filter((node, i) => {
      const top = this._topOf(this._start + i) - this._written;
      return top > -this._rowHeight && top < this._height;
    });
    return seen.length === 0 ? null : [seen[0].number, seen.at(-1).number];
  }

  /** Number of the row under the pointer, or null. */
  get hovered() {
    if (this._pointerY === null || !this._index) return null;
    const place = this._placeAt(this._written + this._pointerY);
    return place >= 0 && place < this._index.size ? this._numberAt(place) : null;
  }

  /** Follow the newest row. */
  follow() {
    this.isFollowing = true;
    this._anchor = null;
    this._told.onScroll();
  }

  /** Hold what is in sight in its place. */
  hold() {
    if (!this.isFollowing || !this.isScrollable) return;
    this._setAnchor(this._written);
    this.isFollowing = false;
  }

  /**
   * Put a row at the upper edge, or in the middle.
   * @param {number} number
   * @param {boolean} inMiddle
   */
  goTo(number, inMiddle = false) {
    this.isFollowing = false;
    this._anchor = { number, delta: inMiddle ? -Math.floor(this._height / 2 / this._rowHeight) * this._rowHeight : 0 };
    this._told.onScroll();
  }

  /** Go to the beginning. */
  goToTop() {
    if (!this._index || !this.isScrollable) return;
    this.isFollowing = false;
    this._anchor = { number: this._index.at(0), delta: -HEAD };
    this._told.onScroll();
  }

  /**
   * Scroll as little as makes a row wholly visible.
   * @param {number} place
   */
  reveal(place) {
    const top = this._topOf(place);
    const bottom = top + this._rowHeight;
    if (top < this._written) this._moveTo(top);
    else if (bottom > this._written + this._height) this._moveTo(bottom - this._height);
  }

  /**
   * Give the anchor the number that its row has now.
   * @param {(number: number) => number} renumber
   */
  renumber(renumber) {
    if (this._anchor) this._anchor.number = renumber(this._anchor.number);
    for (const node of this._nodes) node.number = NaN;
    this._pressed = null;
  }

  /**
   * Draw; to be called in an animation frame.
   * @param {object} index
   * @param {object} store
   * @param {{isSelected: (number: number) => boolean, active: number|null, cycle: number}} marks
   */
  draw(index, store, marks) {
    this._index = index;
    this._store = store;
    if (this.el.clientHeight === 0) {
      // Without a layout, as while a host changes its theme, it cannot be scrolled, and nothing tells when it can.
      this._timer ??= setTimeout(() => {
        this._timer = null;
        this._told.onScroll();
      }, HIDDEN_EVERY);
      return;
    }
    // Shown again just now: the observer speaks only after this frame.
    if (this._height === 0) this._height = this.el.clientHeight;
    if (this._width === 0) this._width = this.el.clientWidth;
    this._setRowHeight(this._width <= NARROW ? TWO_LINES : ONE_LINE);
    const before = this.el.scrollTop;
    const count = index.size;
    const total = this._topOf(count);
    if (total !== this._total) {
      this._total = total;
      this._spacer.style.height = `${total}px`;
    }
    const bottom = Math.max(0, total - this._height);
    let top = bottom;
    if (!this.isFollowing && this._anchor) {
      top = Math.max(0, Math.min(bottom, this._topOf(index.placeOf(this._anchor.number)) + this._anchor.delta));
    }
    if (Math.abs(top - before) >= 1) {
      this.el.scrollTop = top;
      this._written = this.el.scrollTop;
    } else {
      this._written = before;
    }
    this._fill(index, store, count, this._written);
    this._mark(marks);
  }

  /** End it. */
  close() {
    clearTimeout(this._timer);
    this._observer.disconnect();
  }

  /** Pixels from the beginning to the row at a place, and the place of the row at pixels. */
  _topOf(place) {
    return HEAD + place * this._rowHeight;
  }

  _placeAt(top) {
    return Math.floor((top - HEAD) / this._rowHeight);
  }

  /** Make all rows as high; what is held in its place stays there. */
  _setRowHeight(height) {
    if (height === this._rowHeight) return;
    // Of a row that is partly in sight, as large a part.
    if (this._anchor?.delta > 0) this._anchor.delta *= height / this._rowHeight;
    this._rowHeight = height;
    this.el.classList.toggle("cwm-log-two-lines", height === TWO_LINES);
  }

  _fill(index, store, count, top) {
    const start = Math.max(0, this._placeAt(top) - BEYOND);
    const wanted = Math.min(count - start, Math.ceil(this._height / this._rowHeight) + 2 * BEYOND + 1);
    while (this._nodes.length < wanted) {
      const node = new RowNode(`${this._id}-${this._nodes.length}`);
      this._nodes.push(node);
      this._window.append(node.el);
    }
    while (this._nodes.length > Math.max(0, wanted)) this._nodes.pop().el.remove();
    this._rotate(index, start);
    this._start = start;
    this._window.style.transform = `translateY(${this._topOf(start)}px)`;
    const note = this._told.capacityNote();
    for (let i = 0; i < this._nodes.length; i += 1) {
      const node = this._nodes[i];
      node.show(store, index.at(start + i), note);
      setAttribute(node.el, "aria-posinset", start + i + 1);
      setAttribute(node.el, "aria-setsize", count);
    }
  }

  /** Let lines that stay in sight keep their elements. */
  _rotate(index, start) {
    const nodes = this._nodes;
    if (nodes.length === 0) return;
    const first = index.at(start);
    const down = nodes.findIndex((node) => node.number === first);
    if (down > 0) {
      for (const node of nodes.splice(0, down)) {
        nodes.push(node);
        this._window.append(node.el);
      }
    } else if (down < 0) {
      const last = index.at(start + nodes.length - 1);
      const up = nodes.findIndex((node) => node.number === last);
      if (up < 0 || up === nodes.length - 1) return;
      const moved = nodes.splice(up + 1);
      nodes.unshift(...moved);
      this._window.prepend(...moved.map((node) => node.el));
    }
  }

  _mark({ isSelected, active, cycle }) {
    let activeId = null;
    for (const node of this._nodes) {
      const isIt = isSelected(node.number);
      setAttribute(node.el, "aria-selected", isIt ? "true" : "false");
      node.el.classList.toggle("cwm-log-selected", isIt);
      node.el.classList.toggle("cwm-log-active", node.number === active);
      node.el.classList.toggle("cwm-log-same-cycle", this._store.cycle(node.number) === cycle);
      if (node.number === active) activeId = node.el.id;
    }
    setAttribute(this.el, "aria-activedescendant", activeId);
  }

  _scrolled() {
    const top = this.el.scrollTop;
    const moved = top - this._written;
    if (Math.abs(moved) < 1) return;
    const isByHand = this._isDragged || performance.now() - this._touchedAt <= LATELY;
    // A browser that hid or measured the list anew may have put it to its beginning: no reader did.
    if (top === 0 && this._written > this._height && !isByHand) {
      this._told.onScroll();
      return;
    }
    // A hand that goes on is told by nothing else.
    if (isByHand) this._touchedAt = performance.now();
    this._written = top;
    this.isFollowing = top >= this._total - this._height - (moved > 0 ? 4 : 1);
    if (!this.isFollowing) this._setAnchor(top);
    this._told.onScroll();
    if (moved < 0 && this.isAtTop) this._told.onTop();
  }

  _touch() {
    this._isDragged = false;
    this._touchedAt = performance.now();
  }

  _wheeled(event) {
    this._touch();
    if (event.deltaY < 0 && this._written < 1) this._told.onTop();
  }

  _setAnchor(top) {
    if (!this._index || this._index.size === 0) return;
    const place = Math.max(0, Math.min(this._index.size - 1, this._placeAt(top)));
    this._anchor = { number: this._numberAt(place), delta: top - this._topOf(place) };
  }

  /** Scroll to pixels of what was drawn last. */
  _moveTo(top) {
    this.isFollowing = top >= this._total - this._height - 1;
    this._setAnchor(top);
    this._told.onScroll();
  }

  /** Return the row that was drawn at a place: the store may have let go of some since. */
  _numberAt(place) {
    const node = this._nodes[place - this._start];
    return node && Number.isFinite(node.number) ? node.number : this._index.at(place);
  }

  /** Rows that come would move another one under the pointer before it is let go; a finger may be about to scroll. */
  _pressedOn(event) {
    this._touch();
    this._isDragged = event.target === this.el;
    if (!event.isPrimary || event.button !== 0) return;
    this._pressed = this._rowAt(event);
    this._isPicked = this._pressed !== null && event.pointerType !== "touch";
    if (this._isPicked) this._told.onPick(this._pressed, event);
  }

  _clicked(event) {
    // One without a pointer is of an assistive technology.
    if (event.detail === 0) this._pressed = this._rowAt(event);
    else if (this._isPicked) return;
    if (this._pressed !== null) this._told.onPick(this._pressed, event);
  }

  _rowAt(event) {
    const line = event.target instanceof Element ? event.target.closest(".cwm-log-row") : null;
    return line && this._window.contains(line) ? Number(line.dataset.number) : null;
  }

  _pointed(y) {
    if (this._pointerY === y) return;
    this._pointerY = y;
    this._told.onHover();
  }
}
