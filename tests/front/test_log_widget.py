"""The log panel's line to the kernel: what was asked is answered, by the browser itself if the kernel does not."""

from __future__ import annotations

import pytest
from support.front_page import Front

pytestmark = pytest.mark.browser

_MOUNT = """
import { LogStore } from "/front/log_store.js";
import { logWidget } from "/front/widget_log.js";

window.sent = [];
window.told = [];
const heard = new Map();
const model = {
  get: () => "",
  set() {},
  save_changes() {},
  on: (name, listener) => heard.set(name, listener),
  off() {},
  send: (message) => sent.push(message),
  widget_manager: { get_model: () => new Promise(() => {}) },
};
const widget = logWidget((el, store, source) => { window.source = source; return () => {}; }, LogStore)();
const end = widget.initialize({ model });
widget.render({ model, el: document.getElementById("panels") });
window.say = (content) => heard.get("msg:custom")(content, []);
window.askOlder = () => source.askOlder(100, 10).then((answer) => told.push(answer));
window.endWidget = end;
"""


def test_older_rows_that_the_kernel_never_sends_are_given_up() -> None:
    with Front({"widget.js": _MOUNT}) as front, front.page() as one:
        page = one.page
        page.clock.install(time=1_795_384_606)
        page.clock.pause_at(1_795_384_607)
        page.evaluate("() => import('/made/widget.js').then(() => { askOlder(); askOlder(); })")
        ids = page.evaluate("sent.filter(one => one.type === 'older').map(one => one.id)")
        assert len(set(ids)) == 2
        page.evaluate("id => say({ type: 'older', id, rows: [[1, 1, 'x', {}]], is_all: true, problem: null })", ids[1])
        page.wait_for_function("told.length === 1")
        page.clock.run_for(19_900)
        assert page.evaluate("told") == [{"rows": [[1, 1, "x", {}]], "isAll": True, "problem": None}]
        page.clock.run_for(200)
        page.wait_for_function("told.length === 2")
        assert page.evaluate("told[1]") == {"rows": [], "isAll": False, "problem": "the kernel does not answer"}
        page.evaluate("id => say({ type: 'older', id, rows: [], is_all: true, problem: null })", ids[0])
        page.evaluate("endWidget()")
        assert page.evaluate("told.length") == 2
