/**
 * The health panel: how the connection and the relay stand, what was lost, and what the relay hears.
 */

import { h, keyedList, setAttribute, setText, setTitled, setWords, show } from "./dom.js";
import { DASH, asFields, asList, asNumber, asTime, bytes, count, counted, dateTime, inert, length, orDash, when } from "./format.js";
import { badge, facts, panelFrame, ticker } from "./panel_frame.js";

const STATES = new Map([
  ["connecting", "warn"],
  ["connected", "good"],
  ["reconnecting", "warn"],
  ["refused", "bad"],
  ["closed", "bad"],
  ["recording", "info"],
]);
const CAUSES = new Map([
  ["source_outage", "The relay did not hear the publisher"],
  ["relay_restart", "The relay was away"],
  ["trimmed", "Older than what the relay keeps"],
  ["slow_reader", "Taken too slowly here"],
  ["not_archived", "The archive could not be written"],
]);
/** In these what the relay tells is news; in the others it is what it told last. */
const HEARING = new Set(["connected", "recording"]);
/** Each with its field of the state, what is told of it, and what was told when the relay is not heard any more. */
const PARTS = [
  { name: "Relay", key: "relay", tell: relayText, recall: lastOfRelay },
  { name: "Redis", key: "upstream", tell: upstreamText, recall: lastOfUpstream },
  { name: "Archive", key: "archive", tell: archiveText, recall: lastOfArchive },
  { name: "Ollama", key: "ollama", tell: ollamaText, recall: lastOfOllama },
];
const DROPPED = "Records that your callbacks and loops were too slow for";
const MOST_GAPS = 20;
const MOST_MODELS = 8;

/**
 * Show the health.
 * @param {Element} el
 * @param {import("./state_source.js").StateSource} source
 * @returns {() => void} Takes it away.
 */
export function renderHealth(el, source) {
  const { aside, body, remove } = panelFrame(el, "health", "Health");
  const link = badge();
  const words = h("span");
  const trouble = h("p", { class: "cwm-notice" }, words);
  const known = facts(["Rate", "Lag", "Received", "Dropped", "Gaps", "Reconnects"]);
  const lines = new Map(PARTS.map(({ name }) => [name, partLine(name)]));
  const gaps = gapTable();
  const where = h("p", { class: "cwm-quiet cwm-where" });
  aside.append(link.el);
  const list = h("ul", { class: "cwm-parts", "aria-label": "Relay and what it hears" }, [...lines.values()].map((line) => line.el));
  body.append(trouble, known.el, list, gaps.el, where);

  const tick = () => {
    const state = asFields(source.state);
    const now = source.now();
    const connection = asFields(state.connection);
    const [tone, text] = troubleText(connection, now);
    setAttribute(trouble, "class", `cwm-notice cwm-tone-${tone}`);
    setWords(words, text);
    show(trouble, Boolean(text));
    const isHeard = HEARING.has(connection.state);
    for (const { name, key, tell, recall } of PARTS) {
      const [light, said] = tell(state[key], now);
      // What is not heard of any more is neither good nor bad, and its time does not go on.
      if (isHeard) lines.get(name).set(light, said);
      else lines.get(name).set("muted", recall(asFields(state[key]), now) || said);
    }
    setTitled(where, [inert(connection.url, 160), sinceText(connection.since, now)].filter(Boolean).join(" · "));
  };
  const timer = ticker(tick);
  const update = () => {
    const state = asFields(source.state);
    const connection = asFields(state.connection);
    const word = STATES.has(connection.state) ? connection.state : "not known";
    link.set(STATES.get(connection.state) ?? "muted", word);
    const rate = asNumber(state.rate);
    known.set("Rate", rate === null ? DASH : `${count(rate, rate < 100 ? 1 : 0)}/s`);
    const lag = asNumber(state.lag);
    known.set("Lag", lagText(lag), {
      tone: lag !== null && lag >= 1 ? "warn" : "",
      title: "From the relay's reading of the newest message until it was here",
    });
    known.set("Received", count(state.received));
    const dropped = asNumber(state.dropped);
    const evicted = asNumber(state.evicted);
    const left = evicted ? `${counted(evicted, "row")} left the full tables` : "";
    known.set("Dropped", count(dropped), {
      tone: dropped ? "warn" : "",
      title: [inert(state.dropped_title, 200) || DROPPED, left].filter(Boolean).join("; "),
    });
    const number = asNumber(state.gap_count);
    known.set("Gaps", count(number), { tone: number ? "warn" : "" });
    known.set("Reconnects", count(connection.reconnects), { tone: asNumber(connection.reconnects) ? "warn" : "" });
    gaps.set(asList(state.gaps).slice(0, MOST_GAPS).map(asFields), number, source.now());
    tick();
    timer.want(Object.keys(state).length > 0);
  };
  const off = source.onState(update);
  update();
  return () => {
    off();
    timer.stop();
    remove();
  };
}

function sinceText(since, now) {
  return asTime(since) === null ? "" : `for ${length(now - since)}`;
}

function lagText(lag) {
  if (lag === null) return DASH;
  return Math.abs(lag) < 1 ? `${count(lag * 1000)} ms` : `${count(lag, 1)} s`;
}

function troubleText(connection, now) {
  const reason = inert(connection.reason, 300).replace(/^it wants another token; /, "");
  const because = reason ? `: ${reason}` : "";
  const retry = asTime(connection.retry_at);
  const again = retry === null ? "" : retry > now ? `, again in ${length(retry - now)}` : ", trying now";
  switch (connection.state) {
    case "connecting":
      return ["warn", `There was no connection yet${because}${again}. Does the relay run? python -m codeworm_monitor doctor`];
    case "reconnecting":
      return ["warn", `The connection was lost${because}${again}. What the relay still has of it is sent on return.`];
    case "refused":
      if (/token|\b401\b/i.test(inert(connection.reason))) {
        return ["bad", `The relay wants another token${because}${again}. On the relay's machine, python -m codeworm_monitor token tells it.`];
      }
      return ["bad", `The relay refuses${because}${again}. What to do: python -m codeworm_monitor doctor`];
    case "closed":
      return ["bad", `Closed for good${because}. Nothing new comes until you connect again.`];
    case "recording":
      return ["info", `A recording is shown, no relay${because}.`];
    case "connected":
      return ["warn", reason];
    default:
      return ["muted", "Nothing is known of the connection yet."];
  }
}

function relayText(value, now) {
  const relay = asFields(value);
  if (value === null || value === undefined || Object.keys(relay).length === 0) return ["muted", "not asked yet"];
  const problem = inert(relay.problem, 300);
  const started = asTime(relay.started_at);
  const behind = asNumber(relay.readers_behind);
  const texts = [
    inert(relay.version, 40) && `version ${inert(relay.version, 40)}`,
    started !== null && `up ${length(now - started)}`,
    asNumber(relay.readers) !== null && counted(relay.readers, "reader"),
    behind ? `${count(behind)} behind` : "",
    problem,
  ].filter(Boolean);
  return [problem ? "bad" : behind ? "warn" : "good", texts.join(" · ") || DASH];
}

function lastOfRelay(relay, now) {
  const version = inert(relay.version, 40);
  const started = asTime(relay.started_at);
  const problem = inert(relay.problem, 300);
  if (!version && started === null) return problem;
  const texts = [
    "was running when last heard",
    version && `version ${version}`,
    started !== null && `started ${when(started, now)}`,
    asNumber(relay.readers) !== null && counted(relay.readers, "reader"),
    problem,
  ];
  return texts.filter(Boolean).join(" · ");
}

function lastOf(was, isSo, fields, rest = "") {
  if (typeof isSo !== "boolean") return "";
  const reason = inert(fields.reason, 300);
  return `was ${isSo ? "" : "NOT "}${was} when last heard${isSo ? rest : ""}${reason ? `: ${reason}` : ""}`;
}

function lastOfUpstream(upstream) {
  return lastOf("connected", upstream.is_connected, upstream);
}

function lastOfArchive(archive) {
  return lastOf("written", archive.is_writing, archive);
}

function lastOfOllama(ollama) {
  return lastOf("reached", ollama.is_reachable, ollama, ` · ${modelsText(ollama)}`);
}

function upstreamText(value, now) {
  const upstream = asFields(value);
  const since = asTime(upstream.since);
  const reason = inert(upstream.reason, 300);
  if (upstream.is_connected === true) {
    return ["good", since === null ? "hears Redis" : `hears Redis for ${length(now - since)}`];
  }
  if (upstream.is_connected !== false) return ["muted", "not known"];
  return ["bad", `does NOT hear Redis${since === null ? "" : ` since ${when(since, now)}`}${reason ? `: ${reason}` : ""}`];
}

function archiveText(value) {
  const archive = asFields(value);
  const reason = inert(archive.reason, 300);
  const waiting = asNumber(archive.waiting);
  const waits = waiting ? ` · ${counted(waiting, "message")} waiting` : "";
  if (archive.is_writing === true) return [reason ? "warn" : "good", `writes${reason ? `: ${reason}` : ""}${waits}`];
  if (archive.is_writing === false) return ["bad", `does NOT write${reason ? `: ${reason}` : ""}${waits}`];
  return ["muted", "none that is known of"];
}

function ollamaText(value) {
  const ollama = asFields(value);
  const reason = inert(ollama.reason, 300);
  if (ollama.is_reachable === false) return ["bad", `is NOT reached${reason ? `: ${reason}` : ""}`];
  if (ollama.is_reachable !== true) return ["muted", "not looked at; the relay's option --ollama does"];
  return [reason ? "warn" : "good", `reached · ${modelsText(ollama)}${reason ? `: ${reason}` : ""}`];
}

function modelsText(ollama) {
  const models = asList(ollama.models).map((name) => inert(name, 80)).filter(Boolean);
  const more = models.length > MOST_MODELS ? ` and ${count(models.length - MOST_MODELS)} more` : "";
  const loaded = models.length ? `${models.slice(0, MOST_MODELS).join(", ")}${more}` : "no model loaded";
  const memory = asNumber(ollama.size_vram) ? ` · ${bytes(ollama.size_vram)} of video memory` : "";
  return `${loaded}${memory}`;
}

function partLine(name) {
  const text = h("span", { class: "cwm-part-text" });
  const light = h("span", { class: "cwm-light", "aria-hidden": "true" });
  const el = h("li", { class: "cwm-part" }, light, h("span", { class: "cwm-part-name", text: name }), text);
  return {
    el,
    set(tone, words) {
      setAttribute(light, "class", `cwm-light cwm-tone-${tone}`);
      setAttribute(text, "class", `cwm-part-text${tone === "bad" || tone === "warn" ? ` cwm-tone-${tone}` : ""}`);
      setWords(text, words);
      setAttribute(text, "title", words || null);
    },
  };
}

function gapTable() {
  // Roles by name, as the narrow layout takes them from the elements.
  const rows = h("tbody", { role: "rowgroup" });
  const title = h("caption", { class: "cwm-label" });
  const heads = ["Why", "From", "To", "Missed", "Detail"].map((text) => h("th", { scope: "col", role: "columnheader", text }));
  const table = h("table", { class: "cwm-gaps", role: "table" }, title, h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads)), rows);
  const keyOf = (gap) => [gap.cause, gap.started_at, gap.ended_at].map((part) => inert(part, 60)).join("\u0000");
  const setRows = keyedList(rows, keyOf, gapRow);
  return {
    el: h("div", { class: "cwm-scroll", tabindex: "0", role: "group", "aria-label": "Gaps" }, table),
    set(gaps, number, now) {
      show(this.el, gaps.length > 0);
      const isCut = number !== null && number > gaps.length;
      setText(title, isCut ? `Gaps, the newest ${count(gaps.length)} of ${count(number)}` : "Gaps, the newest first");
      setRows(gaps.map((gap) => ({ ...gap, now })));
    },
  };
}

function gapRow() {
  const cells = ["Why", "From", "To", "Missed", "Detail"].map((label) => h("td", { role: "cell", "data-label": label }));
  const [why, from, to, missed, detail] = cells;
  return {
    el: h("tr", { role: "row" }, cells),
    update(gap) {
      setTitled(why, CAUSES.get(gap.cause) ?? orDash(gap.cause, 60), inert(gap.cause, 100));
      setTitled(from, when(gap.started_at, gap.now), dateTime(gap.started_at));
      setTitled(to, when(gap.ended_at, gap.now), dateTime(gap.ended_at));
      setTitled(missed, asNumber(gap.missed) === null ? "not known" : count(gap.missed), "");
      setTitled(detail, orDash(gap.detail, 300));
      setAttribute(detail, "class", detail.textContent === DASH ? "cwm-none" : null);
    },
  };
}
