/**
 * A sparkline: documents of each hour as bars, hours that were not heard as hollow ones.
 */

import { h, setAttribute, setText, svg } from "./dom.js";
import { asFields, asList, asNumber, asTime, clock, count, counted } from "./format.js";

const HOURS = 24;
const STEP = 10;
const HEIGHT = 48;

/**
 * Make the sparkline.
 * @returns {{el: HTMLElement, set: (perHour: any) => void}}
 */
export function sparkline() {
  const bars = Array.from({ length: HOURS }, (_, index) => {
    const title = svg("title");
    const hit = svg("rect", { class: "cwm-hit", x: index * STEP, y: 0, width: STEP, height: HEIGHT });
    const bar = svg("rect", { x: index * STEP + 1, width: STEP - 2, rx: 1 });
    return { title, bar, el: svg("g", {}, title, hit, bar) };
  });
  const drawing = svg(
    "svg",
    { class: "cwm-spark", viewBox: `0 0 ${HOURS * STEP} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
    bars.map((one) => one.el),
  );
  const from = h("span");
  const most = h("span");
  const to = h("span");
  const el = h("div", { class: "cwm-spark-box" }, drawing, h("div", { class: "cwm-axis", "aria-hidden": "true" }, from, most, to));
  return {
    el,
    set(perHour) {
      const start = asTime(asFields(perHour).start);
      const counts = hours(asFields(perHour).counts);
      const known = counts.filter((one) => one !== null);
      const largest = Math.max(1, ...known);
      counts.forEach((value, index) => {
        const { title, bar } = bars[index];
        const height = value === null ? HEIGHT - 2 : value === 0 ? 1 : Math.max(3, (value / largest) * (HEIGHT - 2));
        setAttribute(bar, "class", value === null ? "cwm-unheard" : value === 0 ? "cwm-zero" : "cwm-hour");
        setAttribute(bar, "y", (HEIGHT - 1 - height).toFixed(2));
        setAttribute(bar, "height", height.toFixed(2));
        setText(title, `${hourName(start, index)}: ${value === null ? "not heard" : counted(value, "document")}`);
      });
      setText(from, start === null ? "24 h ago" : clock(start).slice(0, 5));
      setText(most, known.length === 0 ? "not heard yet" : `most in an hour: ${count(Math.max(...known))}`);
      setText(to, "now");
      setAttribute(drawing, "aria-label", summary(counts, known, start));
    },
  };
}

function hours(value) {
  const taken = asList(value).slice(-HOURS).map((one) => (asNumber(one) !== null && one >= 0 ? one : null));
  return [...Array(HOURS - taken.length).fill(null), ...taken];
}

function hourName(start, index) {
  if (start === null) return `${HOURS - index} h ago`;
  return `${clock(start + index * 3600).slice(0, 5)} to ${clock(start + (index + 1) * 3600).slice(0, 5)}`;
}

function summary(counts, known, start) {
  if (known.length === 0) return "Documents per hour over 24 hours: nothing heard yet";
  const sum = known.reduce((total, one) => total + one, 0);
  const largest = Math.max(...known);
  const unheard = HOURS - known.length;
  const parts = [`${count(sum)} in all`, `at most ${count(largest)}, ${hourName(start, counts.indexOf(largest))}`];
  if (unheard) parts.push(`${counted(unheard, "hour")} not heard`);
  return `Documents per hour over 24 hours: ${parts.join("; ")}`;
}
