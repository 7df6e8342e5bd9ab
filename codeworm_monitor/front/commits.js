/**
 * The commits panel: the newest documents, each with its repository, commit, tokens and speed.
 */

import { h, keyedList, setAttribute, setText, setTitled, show } from "./dom.js";
import { ago, asFields, asList, asNumber, asTime, count, counted, dateTime, inert, inertLines, length, orDash, typeName } from "./format.js";
import { announcer, panelFrame, ticker } from "./panel_frame.js";

const MOST = 50;
/** Milliseconds for which "copied" is shown. */
const COPIED = 1500;
const HASH = /^[0-9a-f]{4,64}$/i;

/**
 * Show the newest documents.
 * @param {Element} el
 * @param {import("./state_source.js").StateSource} source
 * @returns {() => void} Takes it away.
 */
export function renderCommits(el, source) {
  const { aside, body, remove } = panelFrame(el, "commits", "Newest documents");
  const total = h("span", { class: "cwm-quiet" });
  const list = h("ol", { class: "cwm-commit-list", "aria-label": "Newest documents", tabindex: "0" });
  const empty = h(
    "div",
    { class: "cwm-empty" },
    h("p", { text: "No document yet. Each one that CodeWorm commits is shown here, the newest first." }),
  );
  const announce = announcer();
  let rows = [];
  const setRows = keyedList(list, keyOf, () => commitRow((row) => rows.push(row), announce.say));
  aside.append(total);
  body.append(list, empty, announce.el);

  const tick = () => {
    const now = source.now();
    for (const row of rows) row.tick(now);
  };
  const timer = ticker(tick);
  const update = () => {
    const state = asFields(source.state);
    const commits = asList(state.commits).slice(0, MOST).map(asFields);
    // What is read stays where it is, while new ones come above it.
    const anchor = list.scrollTop > 0 ? firstSeen(list) : null;
    const before = anchor?.offsetTop;
    setRows(commits);
    rows = rows.filter((row) => row.el.parentNode === list);
    show(list, commits.length > 0);
    show(empty, commits.length === 0);
    if (anchor?.parentNode === list) list.scrollTop += anchor.offsetTop - before;
    setText(total, asNumber(state.count) === null || commits.length === 0 ? "" : `${count(state.count)} heard`);
    tick();
    timer.want(commits.length > 0);
  };
  const off = source.onState(update);
  update();
  return () => {
    off();
    timer.stop();
    for (const row of rows) row.stop();
    announce.stop();
    remove();
  };
}

function keyOf(commit) {
  return [commit.commit, commit.at, commit.target, commit.repo].map((part) => inert(part, 200)).join("\u0000");
}

function firstSeen(list) {
  for (const row of list.children) if (row.offsetTop - list.offsetTop + row.offsetHeight > list.scrollTop) return row;
  return null;
}

function commitRow(made, say) {
  const caret = h("span", { class: "cwm-caret", "aria-hidden": "true" });
  const target = h("span", { class: "cwm-commit-target cwm-code" });
  const name = h("button", { class: "cwm-commit-name", type: "button", "aria-expanded": "false" }, caret, target);
  const type = h("span", { class: "cwm-tag cwm-tag-type" });
  const age = h("span", { class: "cwm-age" });
  const repo = h("span", { class: "cwm-commit-repo" });
  const hash = h("button", { class: "cwm-hash cwm-code", type: "button" });
  const plain = h("span", { class: "cwm-code" });
  const amounts = h("span", { class: "cwm-commit-amounts" });
  const message = h("p", { class: "cwm-commit-message", hidden: true });
  let at = null;
  let whole = "";
  let timer = null;
  const label = () => {
    if (timer === null) setText(hash, whole.slice(0, 8));
    setAttribute(hash, "title", `Copy ${whole}`);
    setAttribute(hash, "aria-label", `Copy commit ${whole}`);
  };
  name.addEventListener("click", () => {
    show(message, message.hidden);
    setAttribute(name, "aria-expanded", String(!message.hidden));
  });
  hash.addEventListener("click", async () => {
    const isCopied = await copy(whole, hash);
    clearTimeout(timer);
    setText(hash, isCopied ? "copied" : "not copied");
    say(`Commit ${whole.slice(0, 8)} ${isCopied ? "copied" : "not copied"}`);
    timer = setTimeout(() => { timer = null; label(); }, COPIED);
  });
  const row = {
    el: h(
      "li",
      { class: "cwm-commit" },
      h("div", { class: "cwm-commit-head" }, name, age),
      h("div", { class: "cwm-commit-facts" }, type, repo, hash, plain, amounts),
      message,
    ),
    update(commit) {
      at = asTime(commit.at);
      setTitled(target, orDash(commit.target));
      setTitled(type, typeName(commit.doc_type));
      show(type, Boolean(type.textContent));
      setAttribute(age, "title", at === null ? null : dateTime(at));
      setTitled(repo, [inert(commit.repo, 200), inert(commit.language, 60)].filter(Boolean).join(" · ") || orDash(""));
      const isHash = typeof commit.commit === "string" && HASH.test(commit.commit);
      whole = isHash ? commit.commit : "";
      show(hash, isHash);
      if (isHash) label();
      setTitled(plain, isHash ? "" : inert(commit.commit, 40));
      show(plain, Boolean(plain.textContent));
      setText(amounts, amountsText(commit));
      const text = inertLines(commit.commit_message, 2000).trim();
      setText(message, text || "No commit message was told.");
      setAttribute(message, "class", `cwm-commit-message${text ? "" : " cwm-none"}`);
    },
    tick: (now) => setText(age, ago(at, now)),
    stop: () => clearTimeout(timer),
  };
  made(row);
  return row;
}

function amountsText(commit) {
  const parts = [];
  if (asNumber(commit.tokens) !== null) parts.push(counted(commit.tokens, "token"));
  const seconds = asNumber(commit.seconds);
  if (seconds !== null) parts.push(seconds < 10 ? `${count(seconds, seconds < 1 ? 2 : 1)} s` : length(seconds));
  if (asNumber(commit.tokens_per_second) !== null) parts.push(`${count(commit.tokens_per_second, 1)} tokens/s`);
  return parts.join(" · ") || orDash("");
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over plain http from another machine there is no clipboard object, but this.
    const area = h("textarea", { class: "cwm-unseen", "aria-hidden": "true", tabindex: "-1", readonly: true });
    area.value = text;
    button.after(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    button.focus();
    return isCopied;
  }
}
