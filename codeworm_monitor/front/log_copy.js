/**
 * Records to the clipboard, as JSON Lines.
 */

import { h } from "./dom.js";
import { count, counted } from "./format.js";

/** Records that are copied at once: more would hold up the page. */
export const MOST_COPIED = 10_000;

/**
 * Return rows as JSON Lines.
 * @param {any[][]} rows
 * @returns {string}
 */
export function jsonLines(rows) {
  return rows.map(([offset, received_at, channel, data]) => JSON.stringify({ offset, received_at, channel, data })).join("\n");
}

/**
 * Copy text, or where the browser does not let it be done (plain http), show it selected in a dialog.
 * @param {HTMLElement} root Where the dialog may stand.
 * @param {string} text
 * @param {number} size Records in it.
 * @param {() => void} onClosed
 * @returns {Promise<string>} What was done, in words.
 */
export async function copyText(root, text, size, onClosed) {
  const what = counted(size, "record");
  try {
    if (globalThis.navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return `${what} copied`;
    }
  } catch {
    // Not allowed here: the person copies.
  }
  showToCopy(root, text, what, onClosed);
  return `${what} to copy`;
}

/**
 * Copy rows as JSON Lines.
 * @param {HTMLElement} root Where a dialog may stand.
 * @param {any[][]} rows At most `MOST_COPIED`.
 * @param {number} wanted How many were to be copied.
 * @param {() => void} onClosed
 * @returns {Promise<string>} What was done, in words.
 */
export async function copyRows(root, rows, wanted, onClosed) {
  const done = await copyText(root, jsonLines(rows), rows.length, onClosed);
  return rows.length < wanted ? `${done}, the first of ${count(wanted)}` : done;
}

function showToCopy(root, text, what, onClosed) {
  root.querySelector(".cwm-log-dialog")?.remove();
  const area = h("textarea", { class: "cwm-log-copy-text", readonly: true, "aria-label": "Records as JSON Lines", rows: "8", spellcheck: "false" });
  area.value = text;
  const close = () => {
    dialog.remove();
    onClosed();
  };
  const dialog = h(
    "div",
    {
      ...{ class: "cwm-log-dialog", role: "dialog", "aria-modal": "true", "aria-label": "Copy records" },
      onkeydown: (event) => {
        event.stopPropagation();
        if (event.key === "Escape") close();
        else if (event.key === "Tab") keepInside(event, dialog);
      },
    },
    h("p", { class: "cwm-log-told", text: `${what}: this page may not copy by itself. All is selected: press Ctrl+C (on a Mac ⌘C).` }),
    area,
    h("button", { type: "button", class: "cwm-log-button", text: "Close", onclick: close }),
  );
  root.append(dialog);
  area.focus();
  area.select();
}

function keepInside(event, dialog) {
  const stops = [...dialog.querySelectorAll("textarea, button")];
  const leaves = event.shiftKey ? stops[0] : stops.at(-1);
  if (event.target !== leaves) return;
  event.preventDefault();
  (event.shiftKey ? stops.at(-1) : stops[0]).focus();
}
