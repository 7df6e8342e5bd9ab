/**
 * One view of the log: what it shows, and how controls, list, strip and record work together.
 */

import { h } from "./dom.js";
import { count } from "./format.js";
import { Announcer } from "./log_announcer.js";
import { Conditions } from "./log_conditions.js";
import { Controls } from "./log_controls.js";
import { MOST_COPIED, copyText, jsonLines } from "./log_copy.js";
import { Details } from "./log_details.js";
import { RowIndex } from "./log_index.js";
import { handleKey } from "./log_keys.js";
import { LogList } from "./log_list.js";
import { Moves } from "./log_moves.js";
import { OlderRows } from "./log_older.js";
import { SlowRegex } from "./log_regex.js";
import { clockMs } from "./log_row.js";
import { Selection } from "./log_selection.js";
import { RateStrip } from "./log_strip.js";
import { ViewTeller, viewOf } from "./log_told.js";
import { WHY, Words } from "./log_words.js";

const STRIP_EVERY = 250; // milliseconds
/** A part of the capacity: when the row that is read is this near to being let go, the view stands still of itself. */
const NEAR_EVICTION = 0.1;

/** The log panel's parts and their state. */
export class LogView {
  /**
   * @param {object} store
   * @param {object} source
   */
  constructor(store, source) {
    this._live = store;
    this._store = store; // what is shown: the live one, or while paused a copy that stands still
    this._source = source;
    this._index = this._liveIndex = new RowIndex(store);
    this._conditions = new Conditions(source.view);
    this._selection = new Selection();
    this._paused = ""; // why; "": not at all
    this._seen = store.end; // live rows from this number on are new
    this._version = store.version;
    this._seenVersion = store.version;
    this._firstDrawn = store.first;
    // By which rows are found again when they get other numbers.
    this._anchorOffset = this._cycleOffset = this._seenOffset = NaN;
    this._frame = 0;
    this._stripAt = -Infinity;
    this._stripTimer = null;
    this._isClosed = false;
    this._build();
    this._retest();
    this._offChange = store.onChange(() => this.schedule());
  }

  /** Draw in the next frame. */
  schedule() {
    if (this._frame === 0 && !this._isClosed) this._frame = requestAnimationFrame(() => this._draw());
  }

  /** End it. */
  close() {
    this._isClosed = true;
    cancelAnimationFrame(this._frame);
    clearTimeout(this._stripTimer);
    this._offChange();
    for (const part of [this._list, this._strip, this._controls, this._announcer, this._older, this._words, this._teller]) part.close();
  }

  _build() {
    const { capacityNote } = this._source;
    this._controls = new Controls({
      onLevel: (name) => this._change(() => this._conditions.toggle(name)),
      onComponent: (name) => this._change(() => { this._conditions.component = name; }),
      onQuery: (text) => this._read(text),
      onPause: () => this._togglePause(),
      onClear: () => this._clearFilter(),
      onOpen: () => this._toggleDetails(),
      onCopy: () => this._copy(),
      onCycle: () => this._toggleCycle(),
    });
    this._controls.query.value = this._conditions.text;
    this._controls.component.value = this._conditions.component;
    this._strip = new RateStrip((at) => this._goToTime(at));
    this._older = new OlderRows(this._source, () => this._askOlder(), () => this.schedule());
    this._list = new LogList({
      onScroll: () => this.schedule(),
      onTop: () => this._askOlder(),
      onPick: (number, event) => this._moves.toClicked(number, event),
      onOpen: (number) => this._open(number),
      onHover: () => this.schedule(),
      capacityNote,
    });
    this._moves = new Moves(this._list, this._selection, {
      look: () => ({ store: this._store, index: this._index, isPaused: this._paused !== "" }),
      askOlder: () => this._askOlder(),
      goLive: () => this._goLive(),
      onMoved: () => {
        this._showActive();
        this.schedule();
      },
    });
    this._details = new Details({ onClose: () => this._closeDetails(), onCopy: () => this._copyRows([this._details.row]), capacityNote });
    this._words = new Words({ onClear: () => this._clearFilter(), onNew: () => this._goLive() });
    this._announcer = new Announcer(() => ({ store: this._live, isPaused: this._paused !== "" }));
    this._teller = new ViewTeller(
      (view) => this._source.setView(view),
      () => viewOf(this._conditions, this._store, this._index, this._selection, this._paused !== ""),
    );
    this.el = h(
      "section",
      {
        ...{ class: "cwm-panel cwm-log", "aria-label": "Log", "data-lm-suppress-shortcuts": "true" },
        onkeydown: (event) => handleKey(event, this._actions()),
      },
      h("header", { class: "cwm-head" }, h("h2", { class: "cwm-title", text: "Log" }), this._words.aside),
      this._controls.el,
      this._strip.el,
      h("div", { class: "cwm-log-place" }, this._older.el, this._list.el, this._words.empty, this._words.fresh),
      this._details.el,
      this._announcer.el,
    );
  }

  _actions() {
    return {
      togglePause: () => this._togglePause(),
      focusQuery: () => this._controls.query.select(),
      takeQuery: () => this._controls.take(),
      escape: (isTyping) => this._escape(isTyping),
      toggleDetails: () => this._toggleDetails(),
      canCopy: () => this._selection.size > 0 || this._details.isOpen,
      copy: () => this._copy(),
      toggleCycle: () => this._toggleCycle(),
      toggleHelp: () => this._controls.toggleHelp(),
      move: (by, isRange) => this._moves.by(by, isRange),
      page: (pages, isRange) => this._moves.byPages(pages, isRange),
      end: (isRange) => this._moves.toEnd(isRange),
      home: (isRange) => this._moves.toHome(isRange),
    };
  }

  // Drawing

  _draw() {
    this._frame = 0;
    if (this._isClosed) return;
    this._renumber();
    const isMore = this._sync();
    this._holdBeforeEviction();
    this._selection.prune(this._store);
    const marked = this._list.hovered ?? this._selection.active;
    this._list.draw(this._index, this._store, {
      isSelected: (number) => this._selection.has(number),
      active: this._selection.active,
      cycle: marked === null ? NaN : this._store.cycle(marked),
    });
    this._older.draw(this._store, this._list.scrolled);
    this._drawStrip();
    this._drawWords(isMore);
    this._drawNew();
    this._teller.soon();
    if (isMore || this._live.isBusy) this.schedule();
  }

  /** Look at rows that were not looked at yet, a few milliseconds long; tell whether some are left. */
  _sync() {
    try {
      const isMore = this._index.sync();
      return this._index === this._liveIndex ? isMore : this._liveIndex.sync() || isMore;
    } catch (error) {
      if (!(error instanceof SlowRegex)) throw error;
      this._conditions.drop("this regex is too slow: the filter is off");
      this._retest();
      return true;
    }
  }

  /** Follow rows that got other numbers. */
  _renumber() {
    const live = this._live;
    if (this._seenVersion !== live.version) {
      this._seenVersion = live.version;
      this._seen = this._seenOffset >= 0 ? Math.min(live.end, live.find(this._seenOffset) + 1) : live.end;
    }
    if (this._store !== live || this._version === live.version) return;
    this._version = live.version;
    this._selection.renumber(live);
    this._list.renumber(() => (this._anchorOffset >= 0 ? live.find(this._anchorOffset) : live.first));
    if (this._conditions.isOneCycle) {
      const number = this._cycleOffset >= 0 ? live.find(this._cycleOffset) : live.end;
      this._conditions.cycle = number < live.end ? live.cycle(number) : NaN;
      this._retest();
    }
  }

  _holdBeforeEviction() {
    const live = this._live;
    const isEvicting = live.first > this._firstDrawn;
    this._firstDrawn = live.first;
    const anchor = this._list.anchor;
    this._anchorOffset = anchor === null ? NaN : this._store.offset(anchor);
    if (this._paused || anchor === null || !isEvicting) return;
    if (anchor - live.first < NEAR_EVICTION * live.capacity) this._pause("eviction");
  }

  _drawStrip() {
    const wait = this._stripAt + STRIP_EVERY - performance.now();
    if (wait > 0) {
      this._stripTimer ??= setTimeout(() => {
        this._stripTimer = null;
        this.schedule();
      }, wait);
      return;
    }
    this._stripAt = performance.now();
    this._strip.draw(this._store, this._list.inSight);
  }

  _drawWords(isMore) {
    const store = this._store;
    const active = this._selection.active;
    this._controls.update({
      levels: this._conditions.levels,
      levelCounts: store.levelCounts,
      components: store.components,
      error: this._conditions.mistake,
      isPaused: this._paused !== "",
      isFiltered: !this._conditions.isAny || this._controls.query.value !== "",
      selected: this._selection.size || (this._details.isOpen ? 1 : 0),
      hasActive: active !== null,
      isOpen: this._details.isOpen,
      hasCycle: active !== null && !Number.isNaN(store.cycle(active)),
      isOneCycle: this._conditions.isOneCycle,
    });
    this._words.update({
      held: store.size,
      shown: this._index.size,
      isAny: this._conditions.isAny,
      progress: isMore ? Math.min(0.99, this._index.progress) : 1,
      selected: this._selection.size,
      paused: this._paused,
    });
    this.el.classList.toggle("cwm-log-paused", this._paused !== "");
  }

  _drawNew() {
    if (!this._paused && this._list.isFollowing) this._see(this._live.end);
    else if (!this._paused) this._see(Math.max(this._seen, (this._list.inSight?.[1] ?? -1) + 1));
    const fresh = this._liveIndex.size - this._liveIndex.placeOf(this._seen);
    this._words.updateNew(this._paused !== "" || !this._list.isFollowing, fresh, this._seen < this._live.first);
  }

  _see(number) {
    this._seen = number;
    this._seenOffset = number > this._live.first ? this._live.offset(number - 1) : NaN;
  }

  // What is shown

  /** Filter all rows anew. */
  _retest() {
    const test = this._conditions.test;
    this._liveIndex.setTest(test);
    if (this._index !== this._liveIndex) this._index.setTest(test);
    this.schedule();
  }

  _change(change) {
    change();
    this._retest();
  }

  _read(text) {
    if (text === this._conditions.text && this._conditions.mistake === "") return;
    if (this._conditions.read(text)) this._retest();
    else this.schedule();
  }

  _clearFilter() {
    this._controls.query.value = this._controls.component.value = "";
    this._change(() => this._conditions.clear());
  }

  _toggleCycle() {
    const active = this._selection.active;
    const wanted = this._conditions.isOneCycle || active === null ? NaN : this._store.cycle(active);
    if (!this._conditions.isOneCycle && Number.isNaN(wanted)) {
      this._announcer.say(active === null ? "select a row of a cycle first" : "this row belongs to no cycle");
      return;
    }
    this._cycleOffset = active === null ? NaN : this._store.offset(active);
    // Rows come and go around the selected one, which stays in sight.
    if (active !== null) this._list.goTo(active, true);
    this._change(() => { this._conditions.cycle = wanted; });
  }

  // Pausing

  _togglePause() {
    if (this._paused) this._goLive();
    else this._pause("reader");
  }

  _pause(why) {
    this._paused = why;
    this._list.hold();
    this._see(this._live.end);
    this._store = this._live.frozen();
    this._index = this._liveIndex.over(this._store);
    this._older.reset();
    this._announcer.say(WHY[why]);
    this.schedule();
  }

  /** Show the live rows, and follow them. */
  _goLive() {
    if (this._paused) {
      this._paused = "";
      this._store = this._live;
      this._index = this._liveIndex;
      this._older.reset();
      this._announcer.say("going on");
    }
    this._list.follow();
  }

  // Older rows

  _askOlder() {
    if (!this._store.hasOlder || this._older.isLoading) return;
    if (!this._paused && this._live.size >= this._live.capacity) this._pause("older");
    this._list.hold();
    this._older.ask(this._store);
  }

  _goToTime(at) {
    const number = this._moves.toTime(at);
    if (number === null) return;
    this._stripAt = -Infinity;
    this._announcer.say(`at ${clockMs(this._store.time(number))}`);
  }

  // Records

  _open(number) {
    if (number === null || number < this._store.first || number >= this._store.end) return;
    if (!this._selection.has(number)) this._selection.go(this._store, this._index, number);
    this._list.hold();
    this._details.show(this._store.row(number), this._store.kind(number));
    this.schedule();
  }

  _toggleDetails() {
    if (this._details.isOpen) this._closeDetails();
    else this._open(this._selection.active);
  }

  _showActive() {
    if (this._details.isOpen) this._open(this._selection.active);
  }

  _closeDetails() {
    this._details.close();
    this._list.el.focus({ preventScroll: true });
    this.schedule();
  }

  _escape(isTyping) {
    if (this._controls.isHelping) this._controls.toggleHelp();
    else if (!isTyping && this._details.isOpen) this._closeDetails();
    else {
      this._clearFilter();
      if (isTyping) this._list.el.focus({ preventScroll: true });
    }
  }

  _copy() {
    const rows = this._selection.numbers.slice(0, MOST_COPIED).map((number) => this._store.row(number));
    if (rows.length === 0 && this._details.isOpen) rows.push(this._details.row);
    if (rows.length > 0) this._copyRows(rows);
  }

  async _copyRows(rows) {
    const done = await copyText(this.el, jsonLines(rows), rows.length, () => this._list.el.focus({ preventScroll: true }));
    if (this._isClosed) return;
    const isCut = rows.length === MOST_COPIED && this._selection.size > MOST_COPIED;
    const told = isCut ? `${done}, the first of ${count(this._selection.size)}` : done;
    this._announcer.say(told);
    this._words.flash(told, () => this.schedule());
    this.schedule();
  }
}
