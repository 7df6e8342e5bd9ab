/**
 * The activity panel: what CodeWorm is doing, for how long, on what, and what comes next.
 */

import { h, setAttribute, setText, setTitled, show } from "./dom.js";
import { DASH, ago, asFields, asNumber, asTime, clock, count, dateTime, inert, length, orDash, rough, typeName, when } from "./format.js";
import { announcer, badge, facts, panelFrame, setTags, ticker } from "./panel_frame.js";

const STEPS = ["starting", "analyzing", "generating", "committed"];
/** Word, tone, and what is shown where no target is. */
const STAGES = new Map([
  ["unknown", ["unknown", "muted", "Not known yet"]],
  ["idle", ["idle", "muted", "Between two cycles"]],
  ["starting", ["starting", "accent", "Looking for something to document"]],
  ["analyzing", ["analyzing", "accent", "Reading the code"]],
  ["generating", ["generating", "accent", "The model writes"]],
  ["committed", ["committed", "good", "The document is committed"]],
  ["failed", ["failed", "bad", "The cycle ended without a document"]],
  ["waiting", ["waiting for Ollama", "warn", "Ollama does not answer; CodeWorm asks again by itself"]],
  ["backing_off", ["backing off", "warn", "A pause after repeated failures"]],
  ["stopped", ["stopped", "bad", "CodeWorm said that it stopped"]],
]);
const NOTHING = "Nothing heard yet: is CodeWorm running, and does it publish where the relay listens?";
const DOCTOR = "python -m codeworm_monitor doctor";

/**
 * Show the activity.
 * @param {Element} el
 * @param {import("./state_source.js").StateSource} source
 * @returns {() => void} Takes it away.
 */
export function renderActivity(el, source) {
  const { aside, body, remove } = panelFrame(el, "activity", "Activity");
  const stageBadge = badge();
  const announce = announcer();
  const steps = STEPS.map((name) => ({ name, el: h("li", { class: "cwm-step" }, h("span", { text: name })) }));
  const target = h("p", { class: "cwm-target" });
  const tags = h("ul", { class: "cwm-tags", "aria-label": "What is documented" });
  const known = facts(["In this stage", "Next cycle", "Cycle", "Last message"]);
  const warning = h("span");
  const sign = h("span", { class: "cwm-sign", "aria-hidden": "true", text: "⚠" });
  const silence = h("p", { class: "cwm-notice cwm-tone-warn" }, sign, warning);
  const last = lastLine("Last document", "good");
  const trouble = lastLine("Last error", "bad");
  const empty = h("div", { class: "cwm-empty" }, h("p", { text: NOTHING }), h("code", { text: DOCTOR }));
  const whole = h(
    "div",
    { class: "cwm-stack" },
    h("ol", { class: "cwm-steps", "aria-label": "Steps of a cycle" }, steps.map((step) => step.el)),
    h("div", { class: "cwm-now" }, target, tags),
    known.el,
    silence,
    last.el,
    trouble.el,
  );
  aside.append(stageBadge.el);
  body.append(whole, empty, announce.el);
  let announced = null;

  const tick = () => {
    const state = asFields(source.state);
    const now = source.now();
    const stage = stageOf(state);
    const since = asTime(state.since);
    const title = since === null ? "" : `since ${dateTime(since)}`;
    known.set("In this stage", since === null ? DASH : length(now - since), { title });
    const heard = asTime(state.last_message_at);
    known.set("Last message", ago(heard, now), { title: heard === null ? "" : dateTime(heard) });
    setNext(known, stage, state, now);
    const limit = asNumber(state.silence_limit);
    const quiet = heard === null ? 0 : now - heard;
    const isSilent = limit !== null && quiet > limit && stage !== "stopped";
    show(silence, isSilent);
    if (isSilent) {
      const usual = `it is seldom quiet for longer than ${length(limit)}`;
      setText(warning, `Nothing heard for ${rough(quiet)}; ${usual}. Does CodeWorm still run?`);
    }
    last.tick(now);
    trouble.tick(now);
  };
  const timer = ticker(tick);

  const update = () => {
    const state = asFields(source.state);
    const stage = stageOf(state);
    const [word, tone, instead] = STAGES.get(stage);
    const step = STEPS.indexOf(stage);
    stageBadge.set(tone, word, step >= 0 && step < 3);
    steps.forEach((one, index) => {
      const how = step < 0 || index > step ? "" : index < step || step === 3 ? " cwm-done" : " cwm-current";
      setAttribute(one.el, "class", `cwm-step${how}`);
      setAttribute(one.el, "aria-current", index === step ? "step" : null);
    });
    const named = inert(state.target, 500);
    setTitled(target, named || instead, named);
    setAttribute(target, "class", named ? "cwm-target cwm-code" : "cwm-target cwm-none");
    setTags(tags, [
      { text: inert(state.repo, 200), class: "cwm-tag-repo", title: `Repository: ${inert(state.repo, 200)}` },
      { text: typeName(state.doc_type), title: `Document type: ${inert(state.doc_type, 200)}` },
      { text: inert(state.language, 60), title: `Language: ${inert(state.language, 60)}` },
    ]);
    known.set("Cycle", count(state.cycle_num));
    const commit = asFields(state.last_commit);
    const words = [inert(commit.target, 300), inert(commit.repo, 200), typeName(commit.doc_type)];
    last.set(commit, [...words, inert(commit.commit, 12)]);
    const error = asFields(state.last_error);
    trouble.set(error, [typeName(error.event), inert(error.target, 300), inert(error.error, 500)]);
    const isEmpty = stage === "unknown" && asTime(state.last_message_at) === null;
    show(whole, !isEmpty);
    show(empty, isEmpty);
    tick();
    timer.want(!isEmpty);
    if (announced !== null && announced !== word) announce.say(named ? `${word}: ${named}` : word);
    announced = word;
  };
  const off = source.onState(update);
  update();
  return () => {
    off();
    timer.stop();
    announce.stop();
    remove();
  };
}

function stageOf(state) {
  return STAGES.has(state.stage) ? state.stage : "unknown";
}

function setNext(known, stage, state, now) {
  const at = asTime(state.next_cycle_at);
  const label = stage === "backing_off" || stage === "waiting" ? "Next attempt" : "Next cycle";
  let text = STEPS.includes(stage) && at === null ? "after this one" : DASH;
  let tone = "";
  if (at !== null) {
    const left = Math.round(at - now);
    text = left >= 0 ? `in ${length(left)} (${when(at, now)})` : `was due ${length(-left)} ago (${when(at, now)})`;
    tone = left < -5 ? "warn" : "";
  }
  known.set("Next cycle", text, { label, tone, title: at === null ? "" : dateTime(at) });
}

function lastLine(label, tone) {
  const text = h("span", { class: "cwm-last-text" });
  const age = h("span", { class: "cwm-age" });
  const el = h("div", { class: `cwm-last cwm-last-${tone}` }, h("span", { class: "cwm-label", text: label }), age, text);
  let at = null;
  return {
    el,
    set(fields, parts) {
      const filled = parts.filter((part) => part);
      at = asTime(fields.at);
      show(el, filled.length > 0 || at !== null);
      setTitled(text, orDash(filled.join(" · "), 1200));
      setAttribute(age, "title", at === null ? null : dateTime(at));
    },
    tick(now) {
      setText(age, at === null ? "" : ago(at, now));
    },
  };
}
