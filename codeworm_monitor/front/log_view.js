/**
 * One view of the log: what it shows, and how controls, list, strip and record work together.
 */

import { h, keepKeys } from "./dom.js";
import { Announcer } from "./log_announcer.js";
import { Conditions } from "./log_conditions.js";
import { Controls } from "./log_controls.js";
import { MOST_COPIED, copyRows } from "./log_copy.js";
import { cycleIn } from "./log_cycles.js";
import { Details } from "./log_details.js";
import { FreshRows } from "./log_fresh.js";
import { RowIndex } from "./log_index.js";
import { handleKey } from "./log_keys.js";
import { LogList } from "./log_list.js";
import { Moves } from "./log_moves.js";
import { OlderRows } from "./log_older.js";
import { SlowRegex } from "./log_regex.js";
import { clockMs } from "./log_row.js";
import { Selection } from "./log_selection.js";
import { RateStrip } from "./log_strip.js";
import { MOST_SELECTED, ViewTeller, viewOf } from "./log_told.js";
import { WHY, Words } from "./log_words.js";

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
    this._fresh = new FreshRows(store);
    this._version = store.version;
    this._traced = store.traced;
    this._firstDrawn = store.first;
    // By which rows are found again when they get other numbers.
    this._anchorOffset = this._cycleOffset = NaN;
    this._frame = 0;
    this._isClosed = false;
    this._build();
    this._retest();
    this._offChange = store.onChange(() => {
      // A tab in the background draws nothing, and yet must not lose what was read.
      if (this._version === store.version) this._holdBeforeEviction();
      this.schedule();
    });
    this._offNote = source.onNote?.(() => {
      this._details.renote();
      this.schedule();
    });
  }

  /** Draw in the next frame. */
  schedule() {
    if (this._frame === 0 && !this._isClosed) this._frame = requestAnimationFrame(() => this._draw());
  }

  /** End it. */
  close() {
    this._isClosed = true;
    cancelAnimationFrame(this._frame);
    this._offChange();
    this._offNote?.();
    for (const part of [this._list, this._strip, this._controls, this._announcer, this._older, this._words, this._teller]) part.close();
  }

  _build() {
    const capacityNote = () => this._source.capacityNote;
    this._controls = new Controls({
      onLevel: (name) => this._change(() => this._conditions.toggle(name)),
      onComponent: (name) => this._change(() => { this._conditions.component = name; }),
      onQuery: (text) => this._read(text),
      onPause: () => this._togglePause(),
      onClear: () => this._clearAndFocus(),
      onOpen: () => this._toggleDetails(),
      onCopy: () => this._copy(),
      onCycle: () => this._toggleCycle(),
    });
    this._controls.query.value = this._conditions.text;
    this._controls.component.value = this._conditions.component;
    this._strip = new RateStrip((at) => this._goToTime(at), () => this.schedule());
    this._older = new OlderRows(this._source, () => this._askOlder(true), () => this.schedule());
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
        if (this._details.isOpen) this._details.show(this._store, this._selection.active);
        this.schedule();
      },
    });
    this._details = new Details({ onClose: () => this._closeDetails(), onCopy: () => this._copyRows([this._details.row]), capacityNote });
    this._words = new Words({ onClear: () => this._clearAndFocus(), onNew: () => this._goLive(true) });
    this._announcer = new Announcer(() => ({ store: this._live, isPaused: this._paused !== "" }));
    this._teller = new ViewTeller(
      this._live,
      (view) => this._source.setView(view),
      () => viewOf(this._conditions, this._store, this._index, this._selection, this._paused !== ""),
    );
    this.el = h(
      "section",
      {
        ...{ class: "cwm-panel cwm-log", "aria-label": "Log", onfocusin: keepKeys },
        onkeydown: (event) => handleKey(event, this._actions()),
      },
      h("header", { class: "cwm-head" }, h("h2", { class: "cwm-title", text: "Log" }), this._words.aside),
      this._controls.el,
      this._strip.el,
      h("div", { class: "cwm-log-place" }, this._older.el, this._list.el, this._words.empty, this._words.fresh),
      this._details.el,
      this._announcer.el,
    );
    this._teller.listen(this.el);
  }

  _actions() {
    return {
      togglePause: () => this._togglePause(),
      focusQuery: () => this._controls.focusQuery(),
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
    this._strip.drawAtTimes(this._store, this._list.inSight);
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
      this._conditions.dropSlow();
      this._teller.now(); // before the page may be loaded again, which begins with what was told
      this._retest();
      return true;
    }
  }

  /** Follow rows that got other numbers. */
  _renumber() {
    const live = this._live;
    this._fresh.renumber();
    if (this._traced !== this._store.traced) {
      this._traced = this._store.traced;
      // The row that began it is still there, and maybe an older one before it now.
      const { cycle } = this._conditions;
      if (cycle >= this._store.first) this._takeCycle(this._store.cycle(cycle));
    }
    if (this._store !== live || this._version === live.version) return;
    this._version = live.version;
    this._selection.renumber(live);
    this._list.renumber(() => (this._anchorOffset >= 0 ? live.find(this._anchorOffset) : live.first));
    if (this._conditions.isOneCycle) {
      const number = this._cycleOffset >= 0 ? live.find(this._cycleOffset) : live.end;
      this._takeCycle(number < live.end ? live.cycle(number) : NaN);
    }
  }

  /** Go on with the cycle that is shown alone, under another number. */
  _takeCycle(cycle) {
    if (!this._conditions.isOneCycle) return;
    this._conditions.cycle = cycle;
    this._retest();
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
      told: this._selection.countOffsets(MOST_SELECTED),
      selectionName: this._source.selectionName ?? "",
      paused: this._paused,
    });
    this.el.classList.toggle("cwm-log-paused", this._paused !== "");
  }

  _drawNew() {
    if (!this._paused && this._list.isFollowing) this._fresh.see(this._live.end);
    else if (!this._paused) this._fresh.see(Math.max(this._fresh.from, (this._list.inSight?.[1] ?? -1) + 1));
    const fresh = this._liveIndex.size - this._liveIndex.placeOf(this._fresh.from);
    this._words.updateNew(this._paused !== "" || !this._list.isFollowing, fresh, this._fresh.from < this._live.first);
  }

  // What is shown

  /** Filter all rows anew. */
  _retest() {
    const { test, cycle } = this._conditions;
    this._index.setTest(test);
    if (this._index !== this._liveIndex) this._liveIndex.setTest(this._conditions.testOf(cycleIn(this._store, cycle, this._live)));
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

  /** What was pressed may be there no more. */
  _focusList() {
    this._list.el.focus({ preventScroll: true });
  }

  _clearAndFocus() {
    this._clearFilter();
    this._focusList();
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
    this._fresh.see(this._live.end);
    this._store = this._live.frozen();
    this._traced = this._store.traced;
    this._index = this._liveIndex.over(this._store);
    this._older.reset();
    this._announcer.say(WHY[why]);
    this.schedule();
  }

  /** Show the live rows, and follow them; a button that asked for it is hidden by it. */
  _goLive(isByButton = false) {
    if (isByButton) this._focusList();
    if (this._paused) {
      this._paused = "";
      const cycle = cycleIn(this._store, this._conditions.cycle, this._live);
      this._store = this._live;
      this._traced = this._live.traced;
      this._index = this._liveIndex;
      this._takeCycle(cycle);
      this._older.reset();
      this._announcer.say("going on");
    }
    this._list.follow();
  }

  // Older rows

  _askOlder(isByButton = false) {
    if (isByButton) this._focusList();
    if (!this._store.hasOlder || this._older.isLoading) return;
    if (!this._paused && this._live.isFull) this._pause("older");
    this._list.hold();
    this._older.ask(this._store);
  }

  _goToTime(at) {
    const number = this._moves.toTime(at);
    if (number === null) return;
    this._strip.hurry();
    this._announcer.say(`at ${clockMs(this._store.time(number))}`);
  }

  // Records

  _open(number) {
    if (number === null || number < this._store.first || number >= this._store.end) return;
    if (!this._selection.has(number)) this._selection.go(this._store, this._index, number);
    this._list.hold();
    this._details.show(this._store, number);
    this.schedule();
  }

  _toggleDetails() {
    if (this._details.isOpen) this._closeDetails();
    else this._open(this._selection.active);
  }

  _closeDetails() {
    this._details.close();
    this._focusList();
    this.schedule();
  }

  _escape(isTyping) {
    if (this._controls.isHelping) this._controls.toggleHelp();
    else if (!isTyping && this._details.isOpen) this._closeDetails();
    else if (!isTyping && this._selection.size > 0) {
      this._selection.clear();
      this.schedule();
    } else if (isTyping) this._clearAndFocus();
    else this._clearFilter();
  }

  _copy() {
    const { numbers } = this._selection;
    const rows = numbers.length === 0 && this._details.isOpen ? [this._details.row] : numbers.slice(0, MOST_COPIED).map((number) => this._store.row(number));
    if (rows.length > 0) this._copyRows(rows, numbers.length);
  }

  async _copyRows(rows, wanted = 1) {
    const told = await copyRows(this.el, rows, wanted, () => this._focusList());
    if (this._isClosed) return;
    this._announcer.say(told);
    this._words.flash(told, () => this.schedule());
    this.schedule();
  }
}
