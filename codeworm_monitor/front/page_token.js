/**
 * The page's token: from the link by which the page was opened, kept for this tab, or asked for.
 */

import { h, setText, setWords } from "./dom.js";

const KEY = "codeworm-monitor-token";
const WELL_FORMED = /^[A-Za-z0-9._~-]{8,256}$/;
const IN_LINK = /[#?&]token=([^&#\s]*)/;

/**
 * Take the token out of the address bar, and keep it for this tab.
 * @returns {string|null} The token; null: none is known.
 */
export function takeToken() {
  const given = IN_LINK.exec(location.hash)?.[1] ?? IN_LINK.exec(location.search)?.[1];
  if (given !== undefined) {
    const query = new URLSearchParams(location.search);
    query.delete("token");
    const rest = query.toString();
    history.replaceState(history.state, "", location.pathname + (rest ? `?${rest}` : ""));
    const token = decoded(given);
    if (token) keepToken(token);
    return token || kept(KEY);
  }
  return kept(KEY);
}

/**
 * Keep a token until the tab is closed, so that a reload finds it.
 * @param {string} token
 */
export function keepToken(token) {
  keep(KEY, token);
}

/**
 * Keep a text until the tab is closed.
 * @param {string} key
 * @param {string} text
 */
export function keep(key, text) {
  try {
    sessionStorage.setItem(key, text);
  } catch {
    // A browser that keeps nothing: a reload begins anew.
  }
}

/**
 * Return what was kept, or null.
 * @param {string} key
 * @returns {string|null}
 */
export function kept(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The form that asks for a token. */
export class TokenForm {
  /** @param {(token: string) => void} onToken Takes what was given. */
  constructor(onToken) {
    this._onToken = onToken;
    this._why = h("p", { class: "cwm-page-why" });
    this._problem = h("p", { class: "cwm-page-problem", id: "cwm-page-problem", role: "alert" });
    this._field = h("input", {
      id: "cwm-page-token", class: "cwm-page-field", name: "token", type: "password", autocomplete: "current-password",
      autocapitalize: "off", autocorrect: "off", spellcheck: "false", "aria-describedby": "cwm-page-problem", maxlength: 2000,
    });
    this.el = h("section", { class: "cwm-page-form-frame", "aria-labelledby": "cwm-page-form-title" },
      h("form", { class: "cwm-page-form", onsubmit: (event) => this._submit(event) },
        h("h2", { id: "cwm-page-form-title", class: "cwm-page-form-title", text: "The relay wants a token" }),
        this._why,
        h("p", {}, "On the relay's machine, this prints a link with the token in it:"),
        h("p", {}, h("code", { class: "cwm-page-code", text: "python -m codeworm_monitor token --link" })),
        h("label", { class: "cwm-page-label", for: "cwm-page-token", text: "Token, or the whole link" }),
        h("div", { class: "cwm-page-row" }, this._field, h("button", { class: "cwm-page-button", type: "submit", text: "Connect" })),
        this._problem,
      ));
    this.el.hidden = true;
  }

  /** @returns {boolean} Whether it is shown. */
  get isShown() {
    return !this.el.hidden;
  }

  /**
   * Show it.
   * @param {string} why What the relay said.
   */
  show(why) {
    setWords(this._why, why);
    if (this.isShown) return;
    this.el.hidden = false;
    this._field.value = "";
    setText(this._problem, "");
    this._field.focus();
  }

  /** Hide it. */
  hide() {
    this.el.hidden = true;
    this._field.value = "";
  }

  _submit(event) {
    event.preventDefault();
    const text = this._field.value.trim();
    const token = decoded(IN_LINK.exec(text)?.[1] ?? text);
    if (!WELL_FORMED.test(token)) {
      setText(this._problem, "This is no token: one has 8 to 256 letters, digits and any of . _ ~ -");
      this._field.focus();
      return;
    }
    setText(this._problem, "");
    this._onToken(token);
  }
}
