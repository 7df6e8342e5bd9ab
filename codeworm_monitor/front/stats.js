/**
 * The stats panel: how many documents, where they belong, how often it works, and documents per hour.
 */

import { h, keyedList, setAttribute, setText, setTitled, setWords, show } from "./dom.js";
import { DASH, asFields, asList, asNumber, asTime, count, counted, dateTime, orDash } from "./format.js";
import { panelFrame } from "./panel_frame.js";
import { sparkline } from "./sparkline.js";

const COUNTERS = [["total", "Total"], ["today", "Today"], ["last_7_days", "7 days"], ["last_30_days", "30 days"]];
const LISTS = [["by_repo", "By repository"], ["by_language", "By language"], ["by_doc_type", "By document type"]];
const ORIGINS = new Map([["database", "from CodeWorm's database"], ["messages", "counted from messages"]]);
/** Bars shown before the rest is asked for. */
const SHOWN = 8;
const MOST = 50;

/**
 * Show the stats.
 * @param {Element} el
 * @param {import("./state_source.js").StateSource} source
 * @returns {() => void} Takes it away.
 */
export function renderStats(el, source) {
  const { aside, body, remove } = panelFrame(el, "stats", "Documents");
  const tiles = COUNTERS.map(([key, label]) => {
    const value = h("dd", { text: DASH });
    return { key, value, el: h("div", { class: "cwm-tile" }, h("dt", { text: label }), value) };
  });
  const rate = h("span", { class: "cwm-strong" });
  const failing = h("span");
  const cycles = h("span", { class: "cwm-quiet" });
  const spark = sparkline();
  const lists = LISTS.map(([key, label]) => ({ key, bars: barList(label) }));
  const note = h("p", { class: "cwm-quiet cwm-note" });
  const origin = h("span", { class: "cwm-quiet" });
  aside.append(origin);
  body.append(
    h("dl", { class: "cwm-tiles" }, tiles.map((tile) => tile.el)),
    h("p", { class: "cwm-line" }, rate, failing, cycles),
    h("figure", { class: "cwm-figure" }, h("figcaption", { class: "cwm-label", text: "Documents per hour" }), spark.el),
    h("div", { class: "cwm-columns" }, lists.map((one) => one.bars.el)),
    note,
  );

  const update = () => {
    const state = asFields(source.state);
    for (const { key, value } of tiles) {
      setTitled(value, count(state[key]), asNumber(state[key]) === null ? "Not known yet" : "");
    }
    const percent = asNumber(state.success_rate);
    setText(rate, percent === null ? `Success rate ${DASH}` : `${count(percent, 1)} % of cycles succeed`);
    const failures = asNumber(state.consecutive_failures);
    const inARow = failures > 0 ? `${counted(failures, "failure")} in a row` : "no failure since the last success";
    setText(failing, failures === null ? "" : inARow);
    setAttribute(failing, "class", failures === null ? null : failures > 0 ? "cwm-tone-bad cwm-strong" : "cwm-quiet");
    setText(cycles, cyclesText(state));
    spark.set(state.per_hour);
    for (const { key, bars } of lists) bars.set(state[key]);
    setText(origin, ORIGINS.get(state.source) ?? "");
    setWords(note, noteText(state));
    show(note, Boolean(note.textContent));
  };
  const off = source.onState(update);
  update();
  return () => {
    off();
    remove();
  };
}

function cyclesText(state) {
  if (asNumber(state.total_cycles) === null) return "";
  const parts = [["successful_cycles", "good"], ["failed_cycles", "failed"], ["skipped_cycles", "skipped"]]
    .filter(([key]) => asNumber(state[key]) !== null)
    .map(([key, word]) => `${count(state[key])} ${word}`);
  return `${counted(state.total_cycles, "cycle")}${parts.length ? `: ${parts.join(", ")}` : ""}`;
}

function noteText(state) {
  if (state.source !== "messages") return "";
  const since = asTime(state.known_since);
  const counted = since === null ? "Nothing counted yet" : `Counted since ${dateTime(since)}`;
  return `${counted}; for totals start the relay with --codeworm-db.`;
}

function barList(label) {
  let isOpen = false;
  let items = [];
  const list = h("ul", { class: "cwm-bars", "aria-label": label });
  const none = h("p", { class: "cwm-quiet", text: "None yet" });
  const setRows = keyedList(list, (item) => item.name, bar);
  const draw = () => {
    setRows(isOpen ? items : items.slice(0, SHOWN));
    const hidden = items.length - SHOWN;
    show(more, hidden > 0);
    setText(more, isOpen ? "show fewer" : `and ${count(hidden)} more`);
    setAttribute(more, "aria-expanded", String(isOpen));
    show(none, items.length === 0);
    show(list, items.length > 0);
  };
  const more = h("button", { class: "cwm-button", type: "button", onclick: () => { isOpen = !isOpen; draw(); } });
  return {
    el: h("div", { class: "cwm-column" }, h("h3", { class: "cwm-label", text: label }), list, more, none),
    set(value) {
      const isBar = (pair) => Array.isArray(pair) && asNumber(pair[1]) !== null && pair[1] >= 0;
      const pairs = asList(value).slice(0, MOST).filter(isBar);
      const sum = pairs.reduce((total, pair) => total + pair[1], 0);
      const largest = Math.max(1, ...pairs.map((pair) => pair[1]));
      items = pairs.map(([name, number]) => ({
        name: orDash(typeof name === "string" && label.includes("type") ? name.replaceAll("_", " ") : name, 200),
        number,
        share: sum > 0 ? (100 * number) / sum : 0,
        width: (100 * number) / largest,
      }));
      draw();
    },
  };
}

function bar() {
  const name = h("span", { class: "cwm-bar-name" });
  const number = h("span", { class: "cwm-bar-count" });
  const share = h("span", { class: "cwm-bar-share" });
  const fill = h("span", { class: "cwm-bar-fill" });
  const track = h("span", { class: "cwm-bar-track", "aria-hidden": "true" }, fill);
  return {
    el: h("li", { class: "cwm-bar" }, name, number, share, track),
    update(item) {
      setTitled(name, item.name);
      setText(number, count(item.number));
      setText(share, `${count(item.share)} %`);
      const width = `${Number(item.width.toFixed(1))}%`;
      if (fill.style.width !== width) fill.style.width = width;
    },
  };
}
