"""The front end's modules in a real browser: a local server with a strict policy, and pages that mount a panel."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self

from playwright.sync_api import Browser, Page

import codeworm_monitor
from support.chromium import chromium

__all__ = ["FOLDER", "POLICY", "THEMES", "Front", "FrontPage"]

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:"
FOLDER = Path(codeworm_monitor.__file__).with_name("front")
_JUPYTER = {
    "light": "--jp-layout-color0: white; --jp-layout-color1: white; --jp-layout-color2: #eee; --jp-border-color2: #e0e0e0;"
    " --jp-ui-font-color0: #000; --jp-ui-font-color1: rgba(0,0,0,.87); --jp-ui-font-color2: rgba(0,0,0,.54);"
    " --jp-brand-color1: #1976d2; --jp-ui-font-size1: 13px; --jp-success-color1: #388e3c; --jp-warn-color1: #f57c00;"
    " --jp-error-color1: #d32f2f; --jp-info-color1: #0097a7;",
    "dark": "--jp-layout-color0: #111; --jp-layout-color1: #212121; --jp-layout-color2: #424242; --jp-border-color2: #424242;"
    " --jp-ui-font-color0: #fff; --jp-ui-font-color1: rgba(255,255,255,.87); --jp-ui-font-color2: rgba(255,255,255,.54);"
    " --jp-brand-color1: #2196f3; --jp-ui-font-size1: 13px; --jp-success-color1: #4caf50; --jp-warn-color1: #ff9800;"
    " --jp-error-color1: #f44336; --jp-info-color1: #00bcd4;",
}
_VSCODE = {
    "light": "--vscode-editor-background: #ffffff; --vscode-editor-foreground: #3b3b3b; --vscode-foreground: #3b3b3b;"
    " --vscode-panel-border: #e5e5e5; --vscode-focusBorder: #005fb8; --vscode-font-size: 13px;",
    "dark": "--vscode-editor-background: #1f1f1f; --vscode-editor-foreground: #cccccc; --vscode-foreground: #cccccc;"
    " --vscode-panel-border: #2b2b2b; --vscode-focusBorder: #0078d4; --vscode-font-size: 13px;",
}
THEMES = ("light", "dark", "jupyter-light", "jupyter-dark", "vscode-light", "vscode-dark")
"""`light` and `dark` are what the machine prefers; the others have a host's variables, while the machine prefers the opposite."""

_MOUNT = """
import { StateSource } from "/front/state_source.js";

const mounted = new Map();
let number = 0;
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
});
window.mount = async (panel, text, at) => {
  const module = await import(`/front/${panel}.js`);
  const render = module[`render${panel[0].toUpperCase()}${panel.slice(1)}`];
  const source = new StateSource();
  source.set(JSON.parse(text), at);
  const el = document.createElement("div");
  el.className = "mounted";
  document.getElementById("panels").append(el);
  number += 1;
  mounted.set(number, { el, source, dispose: render(el, source) });
  return number;
};
window.update = (id, text, at) => mounted.get(id).source.set(JSON.parse(text), at);
window.dispose = (id) => { mounted.get(id).dispose(); mounted.get(id).el.remove(); mounted.delete(id); };
window.isReady = true;
"""
_STYLE = """
html { background: light-dark(#f6f7f9, #0b0c0e); color-scheme: light dark; }
body { margin: 0; padding: 8px; }
"""


class FrontPage:
    """A browser's page with the front end. Trouble that the page met is in `problems`, and fails the block it is used in.

    Attributes:
        page: Playwright's.
        problems: Errors of the console and of scripts, violations of the policy, dialogs, requests to other places.
    """

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.problems: list[str] = []
        self._origin = origin
        page.on("console", lambda said: self._note(said.type, said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self._note("error", str(error)))
        page.on("dialog", self._dismiss)
        page.on("request", self._judge)
        page.on("popup", lambda popup: self._note("popup", popup.url))

    def mount(self, panel: str, state: Any, *, at: float | None = None) -> int:
        """Show a panel with a state, sent at `at` by the relay's clock; return its number."""
        number: int = self.page.evaluate(
            "([panel, text, at]) => mount(panel, text, at)", [panel, json.dumps(state), at]
        )
        return number

    def update(self, number: int, state: Any, *, at: float | None = None) -> None:
        """Give a mounted panel a new state."""
        self.page.evaluate("([id, text, at]) => update(id, text, at)", [number, json.dumps(state), at])

    def dispose(self, number: int) -> None:
        """Take a mounted panel away."""
        self.page.evaluate("id => dispose(id)", number)

    def check(self) -> None:
        """Fail if the page met trouble."""
        problems = [*self.problems, *self.page.evaluate("window.violations")]
        assert not problems, "\n".join(problems)

    def _note(self, kind: str, text: str) -> None:
        self.problems.append(f"{kind}: {text[:2000]}")

    def _dismiss(self, dialog: Any) -> None:
        self._note("dialog", dialog.message)
        dialog.dismiss()

    def _judge(self, request: Any) -> None:
        if not request.url.startswith((f"{self._origin}/front/", f"{self._origin}/made/", "data:")) and request.url != (
            f"{self._origin}/"
        ):
            self._note("request", request.url)


class Front:
    """A browser and a server of the front end's files; a context manager, for a module-scoped fixture.

    Args:
        files: Further files by path below `/made/`, such as a module by which a test mounts its own.
    """

    def __init__(self, files: Mapping[str, str] | None = None) -> None:
        self._files = {"mount.js": _MOUNT, "page.css": _STYLE, **(files or {})}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.browser: Browser = stack.enter_context(chromium())
            self._server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self._files)))
            thread = Thread(target=self._server.serve_forever, args=(0.05,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(self._server.shutdown)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def origin(self) -> str:
        """Where the server is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def page(
        self, *, theme: str = "dark", width: int = 900, height: int = 700, **context: Any
    ) -> AbstractContextManager[FrontPage]:
        """Open a page; at the end of the block its trouble fails the test, unless that failed already.

        Args:
            theme: One of `THEMES`.
            width: In pixels, as is the height.
            height: Of the window.
            context: Further options of Playwright's `new_context`.
        """
        return self._page(theme, width, height, context)

    @contextmanager
    def _page(self, theme: str, width: int, height: int, options: dict[str, Any]) -> Iterator[FrontPage]:
        host, _, shade = theme.rpartition("-")
        # A host's theme must win over what the machine prefers.
        prefers = shade if not host else {"light": "dark", "dark": "light"}[shade]
        chosen = {
            "viewport": {"width": width, "height": height},
            "color_scheme": prefers,
            "timezone_id": "Europe/Berlin",
            "locale": "en-GB",
        }
        context = self.browser.new_context(**{**chosen, **options})
        try:
            page = context.new_page()
            page.set_default_timeout(20_000)
            front = FrontPage(page, self.origin)
            self._files["theme.css"] = _theme(host, shade)
            page.goto(f"{self.origin}/")
            page.wait_for_selector("#panels", state="attached")
            page.evaluate(
                "([host, shade]) => {"
                " if (host === 'jupyter') document.body.dataset.jpThemeLight = String(shade === 'light');"
                " if (host === 'vscode') { document.body.className = `vscode-${shade}`;"
                " document.body.dataset.vscodeThemeKind = `vscode-${shade}`; } }",
                [host, shade],
            )
            page.wait_for_function("window.isReady")
            yield front
            front.check()
        finally:
            context.close()


def _theme(host: str, shade: str) -> str:
    variables = {"jupyter": _JUPYTER, "vscode": _VSCODE}.get(host, {}).get(shade, "")
    return f":root {{ {variables} }}" if variables else ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, files: Mapping[str, str], *arguments: Any) -> None:
        self._files = files
        super().__init__(*arguments)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        folder, _, name = path.lstrip("/").rpartition("/")
        body: bytes | None = None
        if path == "/":
            body, name = _page().encode(), "index.html"
        elif folder == "made" and name in self._files:
            body = self._files[name].encode()
        elif folder == "front" and (FOLDER / name).is_file():
            body = (FOLDER / name).read_bytes()
        self.send_response(200 if body is not None else 404)
        body = body or b""
        types = {
            "html": "text/html; charset=utf-8",
            "js": "text/javascript; charset=utf-8",
            "css": "text/css; charset=utf-8",
        }
        self.send_header("Content-Type", types.get(name.rpartition(".")[2], "application/octet-stream"))
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _page() -> str:
    styles = ["/made/page.css", "/made/theme.css", *(f"/front/{path.name}" for path in sorted(FOLDER.glob("*.css")))]
    links = "".join(f'<link rel="stylesheet" href="{style}">' for style in styles)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>front</title>'
        f'<link rel="icon" href="data:,">{links}</head><body><div id="panels"></div>'
        f'<script type="module" src="/made/mount.js"></script></body></html>'
    )
