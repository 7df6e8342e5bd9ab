/**
 * The repositories panel: each repository with its documents, and the one in work.
 */

import { h, keyedList, setAttribute, setText, setTitled, setWords, show } from "./dom.js";
import { ago, asFields, asList, asNumber, asTime, count, counted, dateTime, orDash } from "./format.js";
import { panelFrame, ticker } from "./panel_frame.js";

const MOST = 500;

/**
 * Show the repositories.
 * @param {Element} el
 * @param {import("./state_source.js").StateSource} source
 * @returns {() => void} Takes it away.
 */
export function renderRepositories(el, source) {
  const { aside, body, remove } = panelFrame(el, "repositories", "Repositories");
  const total = h("span", { class: "cwm-quiet" });
  const list = h("ul", { class: "cwm-repos", "aria-label": "Repositories" });
  const note = h("p", { class: "cwm-quiet cwm-note" });
  const command = h("code");
  const empty = h(
    "div",
    { class: "cwm-empty" },
    h("p", { text: "No repository heard of yet. The relay lists all of them if it is told where CodeWorm's repos.yaml is:" }),
    command,
  );
  setWords(note, "Those that were heard of; for all of them start the relay with --codeworm-config.");
  setWords(command, "python -m codeworm_monitor relay --codeworm-config DIRECTORY");
  let tiles = [];
  const setTiles = keyedList(list, (one) => orDash(one.name, 500), () => {
    const made = repositoryTile();
    tiles.push(made);
    return made;
  });
  aside.append(total);
  body.append(list, empty, note);

  const tick = () => {
    const now = source.now();
    for (const tile of tiles) tile.tick(now);
  };
  const timer = ticker(tick);
  const update = () => {
    const state = asFields(source.state);
    const repositories = asList(state.repositories).slice(0, MOST).map(asFields);
    setTiles(repositories);
    tiles = tiles.filter((tile) => tile.el.parentNode === list);
    const disabled = repositories.filter((one) => one.is_enabled === false).length;
    setText(total, repositories.length ? `${count(repositories.length)}${disabled ? `, ${count(disabled)} disabled` : ""}` : "");
    show(list, repositories.length > 0);
    show(empty, repositories.length === 0);
    show(note, repositories.length > 0 && state.source === "messages");
    tick();
    timer.want(repositories.length > 0);
  };
  const off = source.onState(update);
  update();
  return () => {
    off();
    timer.stop();
    remove();
  };
}

function repositoryTile() {
  const name = h("span", { class: "cwm-repo-name" });
  const mark = h("span", { class: "cwm-repo-mark" });
  const documents = h("span");
  const weight = h("span");
  const age = h("span", { class: "cwm-repo-age" });
  const el = h(
    "li",
    { class: "cwm-repo" },
    h("div", { class: "cwm-repo-head" }, h("span", { class: "cwm-light", "aria-hidden": "true" }), name, mark),
    h("div", { class: "cwm-repo-facts" }, documents, weight, age),
  );
  let at = null;
  return {
    el,
    update(one) {
      at = asTime(one.last_activity);
      const isActive = one.is_active === true;
      const isDisabled = one.is_enabled === false;
      setAttribute(el, "class", `cwm-repo${isActive ? " cwm-repo-active" : ""}${isDisabled ? " cwm-repo-disabled" : ""}`);
      setTitled(name, orDash(one.name, 500));
      setText(mark, isActive ? "in work" : isDisabled ? "disabled" : "");
      show(mark, isActive || isDisabled);
      setText(documents, asNumber(one.documents) === null ? "– documents" : counted(one.documents, "document"));
      setText(weight, asNumber(one.weight) === null ? "" : `weight ${count(one.weight, 2)}`);
      show(weight, Boolean(weight.textContent));
      setAttribute(age, "title", at === null ? null : dateTime(at));
    },
    tick: (now) => setText(age, at === null ? "no activity heard" : ago(at, now)),
  };
}
