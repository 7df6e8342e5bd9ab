/**
 * What the panels share: their frame, a timer that rests while nobody looks, and small pieces.
 */

import { h, keepKeys, replace, setAttribute, setText, setTitled } from "./dom.js";
import { DASH } from "./format.js";

/** Seconds between two announcements to a screen reader. */
const BETWEEN_ANNOUNCEMENTS = 5;

/**
 * Put a panel's frame into an element.
 * @param {Element} el
 * @param {string} name Of its class.
 * @param {string} title
 * @returns {{root: HTMLElement, aside: HTMLElement, body: HTMLElement, remove: () => void}}
 */
export function panelFrame(el, name, title) {
  const aside = h("div", { class: "cwm-aside" });
  const body = h("div", { class: "cwm-body" });
  const head = h("header", { class: "cwm-head" }, h("h2", { class: "cwm-title", text: title }), aside);
  const root = h("section", { class: `cwm-panel cwm-${name}`, "aria-label": title, onfocusin: keepKeys }, head, body);
  el.append(root);
  return { root, aside, body, remove: () => root.remove() };
}

/**
 * Make a timer that calls a function each second while it is wanted and the page is looked at, and at once on return.
 * @param {() => void} tick
 * @returns {{want: (isWanted: boolean) => void, stop: () => void}}
 */
export function ticker(tick) {
  let timer = null;
  let isWanted = false;
  const isSeen = () => document.visibilityState !== "hidden";
  const follow = () => {
    if (isWanted && isSeen()) {
      timer ??= setInterval(tick, 1000);
    } else if (timer !== null) {
      clearInterval(timer);
      timer = null;
    }
  };
  const onSight = () => {
    if (isWanted && isSeen()) tick();
    follow();
  };
  document.addEventListener("visibilitychange", onSight);
  return {
    want(value) {
      isWanted = value;
      follow();
    },
    stop() {
      isWanted = false;
      follow();
      document.removeEventListener("visibilitychange", onSight);
    },
  };
}

/**
 * Make a line that screen readers are told of, politely and at most every five seconds; of several the newest.
 * @returns {{el: HTMLElement, say: (text: string) => void, stop: () => void}}
 */
export function announcer() {
  const el = h("p", { class: "cwm-unseen", role: "status", "aria-live": "polite" });
  let said = -Infinity;
  let timer = null;
  let next = "";
  const speak = () => {
    timer = null;
    said = performance.now();
    // What is said again would be no news.
    setText(el, el.textContent === next ? `${next}\u00a0` : next);
  };
  return {
    el,
    say(text) {
      next = text;
      timer ??= setTimeout(speak, Math.max(0, said + BETWEEN_ANNOUNCEMENTS * 1000 - performance.now()));
    },
    stop: () => clearTimeout(timer),
  };
}

/**
 * Make a badge: a light and a word, told apart by both.
 * @returns {{el: HTMLElement, set: (tone: string, text: string, isBusy?: boolean) => void}} Tones: `muted`, `accent`,
 *   `good`, `warn`, `bad`, `info`.
 */
export function badge() {
  const text = h("span");
  const el = h("span", { class: "cwm-badge" }, h("span", { class: "cwm-light", "aria-hidden": "true" }), text);
  return {
    el,
    set(tone, word, isBusy = false) {
      setAttribute(el, "class", `cwm-badge cwm-tone-${tone}${isBusy ? " cwm-busy" : ""}`);
      setText(text, word);
    },
  };
}

/**
 * Make a list of facts, each a name and a value.
 * @param {string[]} names
 * @returns {{el: HTMLElement, set: (name: string, value: string, options?: {title?: string, tone?: string, label?: string}) => void}}
 */
export function facts(names) {
  const rows = new Map();
  const el = h("dl", { class: "cwm-facts" });
  for (const name of names) {
    const label = h("dt", { text: name });
    const value = h("dd", { text: DASH });
    rows.set(name, { label, value });
    el.append(h("div", { class: "cwm-fact" }, label, value));
  }
  return {
    el,
    set(name, value, { title = value, tone = "", label = name } = {}) {
      const row = rows.get(name);
      setText(row.label, label);
      setTitled(row.value, value, title === DASH ? "" : title);
      setAttribute(row.value, "class", tone ? `cwm-tone-${tone}` : null);
    },
  };
}

/**
 * Put short texts side by side as a list of tags; empty ones are left out.
 * @param {Element} list
 * @param {Array<{text: string, class?: string, title?: string}>} tags
 */
export function setTags(list, tags) {
  const kept = [...list.children];
  const shown = tags.filter((tag) => tag.text);
  replace(list, shown.map((tag, index) => {
    const el = kept[index] ?? h("li");
    setAttribute(el, "class", `cwm-tag ${tag.class ?? ""}`.trim());
    setTitled(el, tag.text, tag.title ?? tag.text);
    return el;
  }));
}
