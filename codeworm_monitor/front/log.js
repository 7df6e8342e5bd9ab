/**
 * The log panel: rows as they come, filtered, followed, held and opened in the browser alone.
 */

import { LogView } from "./log_view.js";

/**
 * Show the log panel.
 * @param {HTMLElement} el Its place.
 * @param {object} store A `LogStore`; several panels may show one.
 * @param {{askOlder: (before: number|null, count: number) => Promise<{rows: any[], isAll: boolean, problem: string|null}>,
 *   setView: (view: object) => void, capacityNote: string, now: () => number, view?: object, selectionName?: string,
 *   onNote?: (listener: () => void) => (() => void)}} source Where older rows come from, and who is told what is shown;
 *   `capacityNote`: where rows are that are not here, read anew whenever it is shown, and `onNote` tells of another;
 *   `selectionName`: where the rows are found again that are selected; `view`: what was shown before, to begin with.
 * @returns {() => void} Ends it.
 */
export function renderLog(el, store, source) {
  const view = new LogView(store, source);
  el.replaceChildren(view.el);
  view.schedule();
  return () => {
    view.close();
    view.el.remove();
  };
}
