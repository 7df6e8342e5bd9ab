/**
 * Ways through the rows: by arrows, pages, ends, clicks and times.
 */

/** Moves the selection and the list with it. */
export class Moves {
  /**
   * @param {object} list
   * @param {object} selection
   * @param {{look: () => {store: object, index: object, isPaused: boolean}, askOlder: () => void, goLive: () => void,
   *   onMoved: () => void}} told `onMoved` is called when another row is the active one.
   */
  constructor(list, selection, told) {
    this._list = list;
    this._selection = selection;
    this._told = told;
  }

  /** Move by a number of rows; from nowhere, to the edge of what is in sight. */
  by(rows, isRange) {
    const { index } = this._told.look();
    const size = index.size;
    if (size === 0) return;
    const sight = this._list.inSight;
    const active = this._selection.active;
    if (active === null && sight) {
      const isAtEnd = rows < 0 && this._list.isFollowing;
      this._select(isAtEnd ? size - 1 : index.placeOf(rows < 0 ? sight[1] : sight[0]), false);
      return;
    }
    // The list has gone on with the newest row, away from the one that the keyboard was at.
    if (!isRange && this._list.isFollowing && sight && active < sight[0]) {
      this._select(size - 1, false);
      return;
    }
    const place = index.placeOf(active ?? index.at(size - 1)) + rows;
    if (place < 0) this._told.askOlder();
    this._select(Math.max(0, Math.min(size - 1, place)), isRange);
  }

  byPages(pages, isRange) {
    this.by(pages * this._list.page, isRange);
  }

  /** Go to the end: of what stands still, or from there to the newest row. */
  toEnd(isRange) {
    const { index, isPaused } = this._told.look();
    const last = index.size - 1;
    if (isRange && last >= 0) this._select(last, true);
    else if (isPaused && last >= 0 && this._list.inSight?.[1] !== index.at(last)) {
      this._list.reveal(last);
      this._moveActive(last);
    } else {
      this._told.goLive();
      this._moveActive(this._told.look().index.size - 1);
    }
  }

  /** Go to the oldest row; from there, ask for older ones. */
  toHome(isRange) {
    if (this._told.look().index.size === 0) return;
    if (isRange) this._select(0, true);
    if (this._list.isAtTop || !this._list.isScrollable) this._told.askOlder();
    this._list.goToTop();
    if (!isRange) this._moveActive(0);
  }

  /** Go to the row that was clicked. */
  toClicked(number, event) {
    const { store, index } = this._told.look();
    if (number < store.first || number >= store.end) return;
    this._selection.go(store, index, number, { isRange: event.shiftKey, isToggle: event.ctrlKey || event.metaKey });
    this._list.hold();
    this._told.onMoved();
  }

  /**
   * Go to the first row from a time on.
   * @param {number} at Unix seconds.
   * @returns {number|null} The row's number.
   */
  toTime(at) {
    const { store, index } = this._told.look();
    if (index.size === 0) return null;
    let low = 0;
    let high = index.size - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (store.time(index.at(middle)) < at) low = middle + 1;
      else high = middle;
    }
    const number = index.at(low);
    this._selection.go(store, index, number);
    this._list.goTo(number);
    this._told.onMoved();
    return number;
  }

  /** Let the arrows go on from where the list goes to. */
  _moveActive(place) {
    const { store, index } = this._told.look();
    if (this._selection.active !== null && place >= 0) this._selection.moveTo(store, index.at(place));
  }

  _select(place, isRange) {
    const { store, index } = this._told.look();
    this._selection.go(store, index, index.at(place), { isRange });
    this._list.reveal(place);
    this._told.onMoved();
  }
}
