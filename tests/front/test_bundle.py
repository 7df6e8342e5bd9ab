"""The bundler: what it puts together, and what it refuses."""

from __future__ import annotations

import re

import pytest

from codeworm_monitor import front
from codeworm_monitor.front import BundleError, bundled


def test_modules_come_before_those_that_import_them_and_only_those_that_are_needed() -> None:
    sources = {
        "a.js": 'import { b, c as d } from "./b.js";\nexport function a() {\n  return b + d;\n}\n',
        "b.js": 'import { e } from "./c.js";\nexport const b = e;\nexport const c = 2;\n',
        "c.js": "export const e = 1;\n",
        "unused.js": "export const never = 1;\n",
    }
    text = bundled(sources, ("a.js",), default="a()")
    assert [text.index(f"// {name}") for name in ("c.js", "b.js", "a.js")] == sorted(
        text.index(f"// {name}") for name in ("a.js", "b.js", "c.js")
    )
    assert "never" not in text
    assert "const { b, c: d } = module_b;" in text
    assert text.rstrip().endswith("export default a();")
    assert text.count("export") == 1


def test_a_module_that_two_need_is_there_once() -> None:
    sources = {
        "a.js": 'import { c } from "./c.js";\nexport const a = c;\n',
        "b.js": 'import { c } from "./c.js";\nexport const b = c;\n',
        "c.js": "export class c {\n}\n",
    }
    text = bundled(sources, ("a.js", "b.js"))
    assert text.count("// c.js") == 1
    assert text.rstrip().endswith("export { a, b };")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"a.js": 'import b from "./b.js";', "b.js": ""}, "a.js, line 1: the bundler does not read"),
        ({"a.js": 'import * as b from "./b.js";', "b.js": ""}, "a.js, line 1"),
        ({"a.js": 'import { b } from "https://cdn.example/b.js";'}, "a.js, line 1"),
        ({"a.js": 'import {\n  b,\n} from "./b.js";', "b.js": "export const b = 1;"}, "a.js, line 1"),
        ({"a.js": "\n\nexport default 1;"}, "a.js, line 3"),
        ({"a.js": "const a = 1;\nexport { a };"}, "a.js, line 2"),
        ({"a.js": "export let a = 1;"}, "a.js, line 1"),
        ({"a.js": 'import { b } from "./none.js";'}, "a.js, line 1: there is no none.js"),
        ({"a.js": 'import { x } from "./b.js";', "b.js": "export const b = 1;"}, "b.js exports no x"),
        ({"a.js": 'import { b as } from "./b.js";', "b.js": "export const b = 1;"}, "cannot be imported"),
        (
            {"a.js": 'import { b } from "./b.js";', "b.js": 'import { a } from "./a.js";'},
            "in a circle: a.js -> b.js -> a.js",
        ),
    ],
)
def test_what_the_grammar_does_not_allow_is_refused_with_its_place(sources: dict[str, str], message: str) -> None:
    with pytest.raises(BundleError, match=re.escape(message)):
        bundled(sources, ("a.js",))


@pytest.mark.parametrize("default", ["a", "b()", "a(b)", "a(); alert(1)", "a(1)"])
def test_the_default_is_a_call_of_what_the_entries_export(default: str) -> None:
    with pytest.raises(BundleError, match="is no call"):
        bundled({"a.js": "export function a() {\n}\n"}, ("a.js",), default=default)


def test_every_module_of_ours_keeps_to_the_grammar() -> None:
    modules = [name for name in front.names() if name.endswith(".js")]
    assert {"widget_panel.js", "widget_log.js", "dom.js"} <= set(modules)
    for name in modules:
        assert f"// {name}" in front.bundle(name)


def test_a_bundle_has_no_import_left_and_one_export() -> None:
    text = front.bundle("widget_panel.js", "activity.js", default="panelWidget(renderActivity)")
    assert re.findall(r"^(?:import|export)\b.*", text, re.MULTILINE) == ["export default panelWidget(renderActivity);"]
    assert "log_store.js" not in text


def test_a_file_that_is_not_there_is_refused() -> None:
    for name in ("../errors.py", "__init__.py", "none.js"):
        with pytest.raises(KeyError):
            front.source(name)
    with pytest.raises(KeyError):
        front.bundle("none.js")
