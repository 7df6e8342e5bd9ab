/**
 * The keys of the log panel. They act only while the focus is inside it, and not while something is typed.
 */

const TYPED_IN = "input, textarea, select";

/**
 * Handle a key that was pressed inside the panel.
 * @param {KeyboardEvent} event
 * @param {object} actions By name, as used here.
 */
export function handleKey(event, actions) {
  const target = event.target instanceof Element ? event.target : null;
  if (event.defaultPrevented || event.isComposing || !target) return;
  if (target.matches(TYPED_IN)) {
    // What is typed is nobody else's shortcut.
    event.stopPropagation();
    if (event.key === "Escape" && !target.closest(".cwm-log-dialog")) {
      event.preventDefault();
      actions.escape(true);
    } else if (event.key === "Enter" && target.matches(".cwm-log-query")) {
      event.preventDefault();
      actions.takeQuery();
    }
    return;
  }
  const isPress = target.closest("button, summary, a") !== null && (event.key === " " || event.key === "Enter");
  const action = isPress ? null : actionFor(event, target, actions);
  if (!action && !isPress) return;
  event.stopPropagation();
  if (action) {
    event.preventDefault();
    action();
  }
}

function actionFor(event, target, actions) {
  if (event.altKey) return null;
  if (event.ctrlKey || event.metaKey) {
    if (event.key.toLowerCase() !== "c" || event.shiftKey || hasTextSelected() || !actions.canCopy()) return null;
    return actions.copy;
  }
  const isInDetails = target.closest(".cwm-log-details-body") !== null;
  const isRange = event.shiftKey;
  switch (event.key) {
    case " ":
      return actions.togglePause;
    case "/":
      return actions.focusQuery;
    case "Escape":
      return () => actions.escape(false);
    case "Enter":
      return actions.toggleDetails;
    case "c":
      return actions.copy;
    case "y":
      return actions.toggleCycle;
    case "?":
      return actions.toggleHelp;
    default:
  }
  // The record's own text scrolls by these.
  if (isInDetails) return null;
  switch (event.key) {
    case "ArrowDown":
      return () => actions.move(1, isRange);
    case "ArrowUp":
      return () => actions.move(-1, isRange);
    case "PageDown":
      return () => actions.page(1, isRange);
    case "PageUp":
      return () => actions.page(-1, isRange);
    case "End":
      return () => actions.end(isRange);
    case "Home":
      return () => actions.home(isRange);
    default:
      return null;
  }
}

function hasTextSelected() {
  const selection = globalThis.getSelection();
  return selection !== null && !selection.isCollapsed && selection.toString() !== "";
}
