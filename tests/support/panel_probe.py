"""What a test asks of panels in the page, as a module: contrasts, what overlaps or sticks out, what is invisible."""

from __future__ import annotations

__all__ = ["PROBE"]

PROBE = r"""
const canvas = document.createElement("canvas");
canvas.width = canvas.height = 1;
const context = canvas.getContext("2d", { willReadFrequently: true });

// Any notation of a colour, over another, as sRGB: the canvas reads what the style computes.
function over(color, under) {
  context.globalCompositeOperation = "copy";
  context.fillStyle = `rgb(${under.join(" ")})`;
  context.fillRect(0, 0, 1, 1);
  context.globalCompositeOperation = "source-over";
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
}

function background(el) {
  const painted = [];
  for (let one = el; one; one = one.parentElement) painted.unshift(getComputedStyle(one).backgroundColor);
  return painted.reduce((under, color) => over(color, under), [255, 255, 255]);
}

// WCAG 2.2, relative luminance and contrast ratio.
function luminance(color) {
  const [r, g, b] = color.map((one) => one / 255).map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

const isSeen = (el) => el.checkVisibility() && !el.closest(".cwm-unseen, svg");
const texts = () => {
  const found = [];
  for (const panel of document.querySelectorAll(".cwm-panel")) {
    const walker = document.createTreeWalker(panel, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode;
      if (node.data.trim() && isSeen(node.parentElement)) found.push({ node, panel, el: node.parentElement });
    }
  }
  return found;
};

window.contrasts = () => texts().map(({ node, el }) => {
  const under = background(el);
  return { text: node.data.slice(0, 40), where: el.className, ratio: contrast(over(getComputedStyle(el).color, under), under) };
});

const meet = (a, b) => ({ left: Math.max(a.left, b.left), right: Math.min(a.right, b.right), top: Math.max(a.top, b.top), bottom: Math.min(a.bottom, b.bottom) });
const hasArea = (box) => box.right - box.left > 1.5 && box.bottom - box.top > 3;

// What is seen of each text: its lines, less what the elements about it cut off.
function seen({ node, el, panel }) {
  const range = document.createRange();
  range.selectNodeContents(node);
  return [...range.getClientRects()].map((line) => {
    let box = { left: line.left, right: line.right, top: line.top, bottom: line.bottom };
    let isLoose = true;
    for (let one = el; one !== panel; one = one.parentElement) {
      if (getComputedStyle(one).overflowX === "visible") continue;
      isLoose = false;
      box = meet(box, one.getBoundingClientRect());
    }
    return { box, isLoose, text: node.data.slice(0, 40), where: el.className, panel, node };
  }).filter(({ box }) => hasArea(box));
}

window.faultsOfLayout = () => {
  const faults = [];
  const boxes = texts().flatMap(seen);
  for (const { box, isLoose, text, where, panel } of boxes) {
    const frame = panel.getBoundingClientRect();
    if (isLoose && (box.left < frame.left - 0.5 || box.right > frame.right + 0.5)) faults.push(`sticks out: ${where} ${text}`);
  }
  boxes.forEach((one, index) => {
    for (const other of boxes.slice(index + 1)) {
      if (one.panel === other.panel && one.node !== other.node && hasArea(meet(one.box, other.box))) {
        faults.push(`overlap: ${one.where} ${one.text} | ${other.where} ${other.text}`);
      }
    }
  });
  for (const panel of document.querySelectorAll(".cwm-panel")) {
    if (panel.scrollWidth > panel.clientWidth) faults.push(`wider than it is: ${panel.className}`);
    for (const one of panel.querySelectorAll(".cwm-scroll, .cwm-commit-list")) {
      if (one.scrollWidth > one.clientWidth) faults.push(`scrolls sideways: ${one.className}`);
    }
    if (panel.getBoundingClientRect().right > innerWidth) faults.push(`wider than the window: ${panel.className}`);
  }
  return faults;
};

// All that is told, titles and names for screen readers included.
window.told = () => {
  const found = [];
  for (const panel of document.querySelectorAll(".cwm-panel")) {
    found.push(panel.textContent);
    for (const el of panel.querySelectorAll("*")) for (const one of el.attributes) found.push(one.value);
  }
  return found;
};

window.outline = () => [...document.querySelectorAll(".cwm-panel")].map((panel) => {
  const counts = {};
  for (const el of panel.querySelectorAll("*")) counts[el.tagName.toLowerCase()] = (counts[el.tagName.toLowerCase()] ?? 0) + 1;
  return counts;
});

// Gives a panel many states, one after the other; returns the numbers of those after which it tells what none should.
window.updateAll = (id, states) => {
  const bad = [];
  states.forEach((text, index) => {
    window.update(id, text);
    if (/undefined|NaN|\[object|Infinity/.test(document.querySelector(".cwm-panel").outerHTML)) bad.push(index);
  });
  return bad;
};

window.changes = (act) => {
  const observer = new MutationObserver(() => {});
  for (const panel of document.querySelectorAll(".cwm-panel")) {
    observer.observe(panel, { subtree: true, childList: true, attributes: true, characterData: true });
  }
  act();
  const seen = observer.takeRecords();
  observer.disconnect();
  return seen.map((one) => `${one.type} ${one.attributeName ?? ""} ${(one.target.className ?? one.target.parentNode?.className) || one.target.nodeName}`);
};
window.isProbeReady = true;
"""
