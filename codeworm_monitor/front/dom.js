/**
 * Elements made and changed in place. Text becomes text nodes only; nothing here reads markup.
 *
 * What is already as it should be is left alone, so that focus, scroll and a reader's text selection survive an update.
 */

const SVG = "http://www.w3.org/2000/svg";
/** Attributes that could load, lead away or carry code: no caller needs them. */
const FORBIDDEN = /^(?:style|href|xlink:href|src|srcdoc|srcset|action|formaction|data|background|poster|ping)$/i;

/**
 * Make an HTML element.
 * @param {string} tag
 * @param {Object<string, any>} [attributes] `class`, `text`, and other attributes by name; functions under `on…` names listen.
 *   `true` is an empty attribute; null, undefined and false leave it out.
 * @param {...(Node|string|number|null|undefined|false|Array)} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/**
 * Make an SVG element; as `h`.
 * @param {string} tag
 * @param {Object<string, any>} [attributes]
 * @param {...(Node|string|number|null|undefined|false|Array)} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(el, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "text") {
      if (value !== null && value !== undefined) el.textContent = String(value);
    } else if (typeof value === "function") {
      el.addEventListener(name.replace(/^on/, ""), value);
    } else {
      setAttribute(el, name, value);
    }
  }
  for (const child of nodes(children)) el.append(child);
  return el;
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

/**
 * Set, or for null, undefined and false remove, an attribute; nothing happens if it is so already.
 * @param {Element} el
 * @param {string} name
 * @param {any} value
 */
export function setAttribute(el, name, value) {
  if (FORBIDDEN.test(name) || /^on/i.test(name)) throw new TypeError(`${name} is not set as an attribute`);
  if (value === null || value === undefined || value === false) {
    if (el.hasAttribute(name)) el.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (el.getAttribute(name) !== text) el.setAttribute(name, text);
}

/**
 * On "focusin": keep the keys from being shortcuts of JupyterLab and Notebook, which would delete a cell by "dd". Notebook
 * hears of a key before all others, and both ask only what has the focus, not what is around it.
 * @param {FocusEvent} event
 */
export function keepKeys(event) {
  setAttribute(event.target, "data-lm-suppress-shortcuts", "true");
}

/**
 * Set the text of an element that holds nothing else; nothing happens if it is so already.
 * @param {Element} el
 * @param {string} text
 */
export function setText(el, text) {
  const only = el.childNodes.length === 1 && el.firstChild.nodeType === Node.TEXT_NODE ? el.firstChild : null;
  if (only) {
    if (only.data !== text) only.data = text;
  } else if (el.textContent !== text || el.firstElementChild) {
    el.textContent = text;
  }
}

/**
 * Set the text, and as title the same, so that what is cut off can be read whole.
 * @param {Element} el
 * @param {string} text
 * @param {string} [title]
 */
export function setTitled(el, text, title = text) {
  setText(el, text);
  setAttribute(el, "title", title || null);
}

/** A program's option as it stands in a sentence; at most so long, as anybody's text may have one in it. */
const OPTION = /(?<![^\s("])(--?[a-z][a-z-]{0,30})(?![\w-])/;

/**
 * Set the text of an element that holds nothing else; no line breaks within a program's option, such as "--ollama".
 * @param {Element} el
 * @param {string} text
 */
export function setWords(el, text) {
  if (el.textContent === text) return;
  const parts = text.split(OPTION); // each second is an option
  if (el.childNodes.length === parts.length) {
    parts.forEach((part, index) => {
      const node = el.childNodes[index].firstChild ?? el.childNodes[index];
      if (node.data !== part) node.data = part;
    });
  } else {
    const made = parts.map((part, index) => (index % 2 ? h("span", { class: "cwm-option", text: part }) : document.createTextNode(part)));
    el.replaceChildren(...made);
  }
}

/**
 * Show or hide an element.
 * @param {HTMLElement} el
 * @param {boolean} isShown
 */
export function show(el, isShown) {
  if (el.hidden === isShown) el.hidden = !isShown;
}

/**
 * Make `children` the children of an element. Those there already keep their place in the document where they can.
 * @param {Element} el
 * @param {...(Node|string|number|null|undefined|false|Array)} children
 */
export function replace(el, ...children) {
  const wanted = nodes(children);
  const kept = new Set(wanted);
  for (const child of [...el.childNodes]) if (!kept.has(child)) child.remove();
  let next = el.firstChild;
  for (const child of wanted) {
    if (child === next) next = next.nextSibling;
    else el.insertBefore(child, next);
  }
}

/**
 * Keep a list of elements in step with a list of items: one element for each key, made once and updated thereafter.
 * @param {Element} el Its children are the list's alone.
 * @param {(item: any) => string} keyOf Keys that come again are told apart by their number.
 * @param {(item: any) => {el: Element, update: (item: any) => void}} make
 * @returns {(items: any[]) => void}
 */
export function keyedList(el, keyOf, make) {
  let rows = new Map();
  return (items) => {
    const next = new Map();
    const times = new Map();
    for (const item of items) {
      const key = keyOf(item);
      const time = times.get(key) ?? 0;
      times.set(key, time + 1);
      const unique = `${time}:${key}`;
      const row = rows.get(unique) ?? make(item);
      row.update(item);
      next.set(unique, row);
    }
    rows = next;
    replace(el, [...next.values()].map((row) => row.el));
  };
}
