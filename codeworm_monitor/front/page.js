/**
 * The dashboard as a page: its panels, fed by the relay's WebSocket and by what it answers to `GET /panels`.
 */

import { renderActivity } from "./activity.js";
import { renderCommits } from "./commits.js";
import { h, setAttribute, setText, show } from "./dom.js";
import { asFields, asList, asNumber, inert } from "./format.js";
import { renderHealth } from "./health.js";
import { renderLog } from "./log.js";
import { History, PageStore } from "./page_history.js";
import { PagePanels } from "./page_panels.js";
import { TokenForm, keep, keepToken, kept, takeToken } from "./page_token.js";
import { renderRepositories } from "./repositories.js";
import { RelaySocket } from "./socket.js";
import { StateSource } from "./state_source.js";
import { renderStats } from "./stats.js";

const NAME = "CodeWorm monitor";
const VIEW = "codeworm-monitor-view";
/** Each with what makes it, in the order of one column; and of two columns, in which it is. */
const PANELS = [
  ["activity", renderActivity, "main"],
  ["log", null, "main"],
  ["commits", renderCommits, "main"],
  ["stats", renderStats, "side"],
  ["repositories", renderRepositories, "side"],
  ["health", renderHealth, "side"],
];
const STATES = new Map([
  ["connecting", "connecting"],
  ["connected", "live"],
  ["reconnecting", "reconnecting"],
  ["refused", "refused"],
  ["closed", "closed"],
]);
const ANSWER_WITHIN = 20_000;
const HEALTH_EVERY = 250;
/** Milliseconds for which an answer about the panels counts as what is so now. */
const KNOWN_FOR = 15_000;

const BASE = new URL("./", location.href);
const SOCKET = new URL(`.${document.querySelector("meta[name=codeworm-monitor-socket]").content}`, BASE);
SOCKET.protocol = SOCKET.protocol.replace("http", "ws");
SOCKET.search = SOCKET.hash = "";

let token = takeToken();
let healthTimer = null;

const clock = new StateSource();
const sources = Object.fromEntries(PANELS.map(([name]) => [name, new StateSource()]));
const store = new PageStore();
const places = { main: h("div", { class: "cwm-page-main" }), side: h("div", { class: "cwm-page-side" }) };
const form = new TokenForm((given) => {
  token = given;
  keepToken(given);
  socket.connect();
  panels.refresh();
});
const again = h("button", { class: "cwm-page-button cwm-page-again", type: "button", text: "Connect now", onclick: () => socket.connect() });

const panels = new PagePanels({
  get: (etag) => request("panels", {}, etag),
  take: (told) => {
    const at = told.at;
    clock.set({}, at);
    // Until the relay has looked through all it holds, its counts are too low.
    const ready = told.is_whole ? ["stats", "commits", "repositories"] : [];
    for (const name of ready) sources[name].set(asFields(told.panels)[name], at);
    showActivity(at);
    showHealth();
    showTitle();
    showNote();
  },
  onProblem: () => showHealth(),
});
const socket = new RelaySocket({
  url: SOCKET.href,
  token: () => token,
  now: () => clock.now(),
  onTime: (at) => clock.set({}, at),
  onRows: (rows) => {
    store.add(rows);
    panels.news();
  },
  onChange: () => {
    healthTimer ??= setTimeout(() => {
      healthTimer = null;
      showConnection();
    }, socket.state === shownState ? HEALTH_EVERY : 0);
  },
  ask,
});
const history = new History(
  async (path, query) => {
    const answer = await request(path, query);
    if (!answer.ok) throw new Error(`the relay answered ${answer.status}: ${inert(await answer.text(), 200)}`);
    return answer.json();
  },
  () => socket.numbering,
  () => store.asking,
);
const noteListeners = new Set();
let shownState = "";
let shownNote = "";
let connectedAt = Infinity;

function request(path, query = {}, etag = null) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
  const headers = {};
  if (token !== null) headers.Authorization = `Bearer ${token}`;
  if (etag !== null) headers["If-None-Match"] = etag;
  const signal = AbortSignal.timeout(ANSWER_WITHIN);
  return fetch(url, { headers, cache: "no-store", referrerPolicy: "no-referrer", redirect: "error", signal });
}

/** Return what the log panel asks for. What is shown of the log is kept for this tab, so that a reload shows the same. */
function logSource() {
  return {
    askOlder: (before, count) => history.older(before, count),
    setView: ({ query, levels, component }) => keep(VIEW, JSON.stringify({ query, levels, component })),
    view: parsed(kept(VIEW)),
    get capacityNote() {
      return capacityNote();
    },
    onNote: (listener) => {
      noteListeners.add(listener);
      return () => noteListeners.delete(listener);
    },
    now: () => clock.now(),
  };
}

function capacityNote() {
  const health = asFields(asFields(panels.told.panels).health);
  if (asFields(health.archive).is_writing === true) return "the relay's archive, for notebooks and exports";
  return panels.told.panels ? "the relay, as far as it keeps them" : "the relay's archive, if it keeps one";
}

function showNote() {
  const note = capacityNote();
  if (note === shownNote) return;
  shownNote = note;
  for (const listener of [...noteListeners]) listener();
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Ask the relay why it does not let the socket in; null if it does not answer at all. */
async function ask() {
  try {
    const answer = await request("panels");
    if (answer.ok) return { status: answer.status, text: "" };
    const text = answer.status === 401 ? refusal() : inert(await answer.text(), 200);
    return { status: answer.status, text };
  } catch {
    return null;
  }
}

function refusal() {
  if (token === null) return "The relay wants a token.";
  return "The token is not the relay's: it makes a new one at each start, unless its setting --token says which.";
}

function showConnection() {
  if (socket.state !== "connected") {
    connectedAt = Infinity;
  } else if (connectedAt === Infinity) {
    connectedAt = performance.now();
    panels.refresh();
  }
  shownState = socket.state;
  const word = STATES.get(socket.state) ?? socket.state;
  const isSaid = socket.state === "connected" || socket.wantsToken; // the form says it
  setText(stateText, isSaid ? word : [word, inert(socket.reason, 200)].filter(Boolean).join(": "));
  setAttribute(light, "class", `cwm-page-light cwm-page-${socket.state}`);
  if (socket.wantsToken && socket.state === "refused") form.show(token === null ? "" : socket.reason);
  else if (form.isShown && socket.state === "connected") keepFocus(form.el, () => form.hide());
  keepFocus(again, () => show(again, socket.state !== "connected" && !form.isShown));
  // Without a first answer, the panels could only say that nothing was heard.
  show(grid, !form.isShown || socket.numbering.epoch !== null);
  showHealth();
  showTitle();
}

/** Hide something; if the focus was in it, that goes to what tells the outcome, from where the next key leads on. */
function keepFocus(el, hide) {
  const hadFocus = el.contains(document.activeElement);
  hide();
  if (hadFocus && el.hidden) stateLine.focus();
}

/** Show the activity; that it is quiet is told of CodeWorm only while it could be heard, all the way to here. */
function showActivity(at) {
  const told = asFields(panels.told.panels);
  const activity = asFields(told.activity);
  const isFresh = panels.knownAt >= connectedAt && performance.now() - panels.knownAt < KNOWN_FOR;
  const isHeard = isFresh && asFields(asFields(told.health).upstream).is_connected !== false;
  const limit = isHeard ? asNumber(activity.silence_limit) : null;
  const source = sources.activity;
  if (at !== undefined || (source.state.silence_limit ?? null) !== limit) source.set({ ...activity, silence_limit: limit }, at);
}

function showHealth() {
  showActivity();
  const told = asFields(panels.told.panels).health;
  const relay = asFields(told).relay;
  const seen = [...socket.gaps];
  const isNew = (gap) => !seen.some((one) => one.cause === gap?.cause && one.started_at === gap.started_at && one.ended_at === gap.ended_at);
  const older = asList(asFields(told).gaps).filter(isNew);
  const total = Math.max(asFields(told).gap_count ?? 0, socket.gapCount, seen.length + older.length);
  sources.health.set({
    ...asFields(told),
    connection: {
      state: socket.state, since: socket.since, url: SOCKET.href, reason: socket.state === "connected" ? "" : socket.reason,
      retry_at: socket.retryAt, reconnects: socket.reconnects,
    },
    rate: socket.rate,
    lag: socket.lag,
    received: socket.received,
    dropped: socket.skipped,
    dropped_title: "Rows of a flood that this page did not take, the oldest of it",
    evicted: 0,
    gap_count: total,
    gaps: [...seen, ...older].sort((one, other) => other.ended_at - one.ended_at).slice(0, 20),
    relay: relay ? { ...relay, problem: panels.problem || relay.problem } : panels.problem ? { problem: panels.problem } : null,
  });
}

function showTitle() {
  const stage = inert(asFields(sources.activity.state).stage, 20).replace("_", " ");
  const repo = inert(asFields(sources.activity.state).repo, 60);
  const now = socket.state === "connected" ? [stage, repo].filter(Boolean).join(" · ") : STATES.get(socket.state);
  document.title = now ? `${now} · ${NAME}` : NAME;
}

const light = document.querySelector(".cwm-page-light");
const stateLine = document.querySelector(".cwm-page-state");
const stateText = document.querySelector(".cwm-page-text");
const grid = document.querySelector(".cwm-page-grid");
document.querySelector(".cwm-page-head").append(again);
document.querySelector(".cwm-page-head").after(form.el);
grid.append(places.main, places.side);
setAttribute(stateLine, "tabindex", "-1");
for (const [name, render, place] of PANELS) {
  const el = h("div", { class: `cwm-page-panel cwm-page-of-${name}` });
  places[place].append(el);
  if (render) render(el, sources[name]);
  else renderLog(el, store, logSource());
}
showConnection();
socket.connect();
panels.start();

addEventListener("hashchange", () => {
  const given = takeToken();
  if (given === null || given === token) return;
  token = given;
  socket.connect();
  panels.refresh();
});
addEventListener("online", () => socket.wake());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  socket.wake();
  panels.refresh();
  showActivity();
});
// A page that the browser puts aside, and may take out again, holds no connection meanwhile.
addEventListener("pagehide", () => socket.rest());
addEventListener("pageshow", (event) => {
  if (event.persisted) socket.connect();
});
