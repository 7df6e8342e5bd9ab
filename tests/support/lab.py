"""A real JupyterLab or Notebook 7 with real kernels, seen and worked through a headless Chromium."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Browser, BrowserContext, Locator, Page

from support.chromium import Complaints, Look
from support.servers import free_port
from support.waiting import until

__all__ = ["KERNEL", "PATIENCE", "Lab", "Notebook", "Notebook7", "isolated_jupyter", "jupyterlab", "notebook7"]

PATIENCE = 30_000
"""Milliseconds that any wait in the browser may take on a busy machine."""
QUIET = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
KERNEL = "window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel"
"""The kernel's connection of the notebook in front, in the page."""


def isolated_jupyter(folder: Path) -> dict[str, str]:
    """Return an environment in which Jupyter and what it starts see nothing of this user's, and write below a folder."""
    places = {
        **{
            "HOME": "home",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
        },
        **{"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython"},
        **{"XDG_CONFIG_HOME": "xdg/config", "XDG_DATA_HOME": "xdg/data", "XDG_CACHE_HOME": "xdg/cache"},
        **{"XDG_STATE_HOME": "xdg/state", "JUPYTER_PATH": "kernels", "MPLCONFIGDIR": "matplotlib"},
        "CODEWORM_MONITOR_RUNTIME_DIR": "announcements",
    }
    for place in places.values():
        (folder / place).mkdir(parents=True, exist_ok=True)
    notices = folder / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    notices.parent.mkdir(parents=True, exist_ok=True)
    notices.write_text(json.dumps(QUIET))
    kernel = folder / "kernels" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    foreign = ("JUPYTER", "IPYTHON", "CODEWORM", "XDG_", "REDIS_", "OLLAMA", "MPL", "COVERAGE", "COV_CORE")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    own = {name: str(folder / place) for name, place in places.items()}
    return {**inherited, **own, "JUPYTER_PLATFORM_DIRS": "1", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}


class Notebook:
    """A notebook that is open in JupyterLab, or in Notebook 7, which is made of the same parts.

    Args:
        page: The browser's page that shows it.
        path: Its file.
        complaints: What the page complained of since it was opened.
    """

    def __init__(self, page: Page, path: Path, complaints: Complaints) -> None:
        self.page = page
        self.path = path
        self.complaints = complaints

    def wait_ready(self) -> None:
        """Wait until the notebook is shown and its kernel is idle."""
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=PATIENCE)
        self.page.wait_for_function(f"window.jupyterapp && {KERNEL}?.status === 'idle'", timeout=PATIENCE)

    def save(self) -> None:
        """Save it."""
        self.command("docmanager:save")

    def reload(self) -> None:
        """Reload the page, as F5 does; what was not saved is lost."""
        self.save()
        self.page.reload()
        self.wait_ready()

    def command(self, name: str, **arguments: Any) -> None:
        """Run a command of the application and wait for its end."""
        self.page.evaluate("async ([n, a]) => { await window.jupyterapp.commands.execute(n, a) }", [name, arguments])

    def start(self, cell: int) -> None:
        """Run a cell without waiting for it."""
        self.page.evaluate(
            "i => { const app = window.jupyterapp; app.shell.currentWidget.content.activeCellIndex = i;"
            " void app.commands.execute('notebook:run-cell') }",
            cell,
        )

    def run(self, cell: int) -> None:
        """Run a cell to its end, and fail if it raised."""
        self.page.evaluate(
            "async i => { const app = window.jupyterapp; app.shell.currentWidget.content.activeCellIndex = i;"
            " await app.commands.execute('notebook:run-cell') }",
            cell,
        )
        failed = [one for one in self.outputs(cell) if one["output_type"] == "error"]
        assert not failed, "\n".join(failed[0]["traceback"])

    def outputs(self, cell: int) -> list[dict[str, Any]]:
        """Return a cell's outputs as the file would hold them."""
        found: list[dict[str, Any]] = self.page.evaluate(
            "i => window.jupyterapp.shell.currentWidget.content.widgets[i].model.outputs.toJSON()", cell
        )
        return found

    def ask(self, expression: str) -> Any:
        """Return what an expression is in the kernel; it must be JSON. It waits for a cell that runs."""
        return self.do("", expression)

    def do(self, code: str, expression: str = "None") -> Any:
        """Run code in the kernel outside all cells, then return what an expression is there."""
        reply = self.page.evaluate(
            f"async ([code, expression]) => (await {KERNEL}.requestExecute("
            "{code, user_expressions: {it: expression}, store_history: false}).done).content",
            [code, f"__import__('json').dumps({expression}, default=str)"],
        )
        assert reply["status"] == "ok", "\n".join(reply.get("traceback", [str(reply)]))
        told = reply["user_expressions"]["it"]
        assert told["status"] == "ok", f"{expression}: {told.get('ename')}: {told.get('evalue')}"
        return json.loads(ast.literal_eval(told["data"]["text/plain"]))

    def interrupt(self) -> None:
        """Interrupt the kernel."""
        self.command("notebook:interrupt-kernel")

    def restart(self) -> None:
        """Restart the kernel: the question that is asked is answered with yes."""
        self.page.evaluate("() => { void window.jupyterapp.commands.execute('notebook:restart-kernel') }")
        self.page.locator(".jp-Dialog .jp-mod-accept").click(timeout=PATIENCE)
        self.page.wait_for_function(f"document.querySelector('.jp-Dialog') === null && {KERNEL}?.status === 'idle'")

    def shut_down(self) -> None:
        """End the kernel and wait until it is gone."""
        self.page.evaluate(
            "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown() }",
        )

    def theme(self, name: str) -> None:
        """Change the application's theme, `light` or `dark`, and wait until it is shown."""
        self.command("apputils:change-theme", theme=f"JupyterLab {name.title()}")
        light = str(name == "light").lower()
        self.page.wait_for_function(f"document.body.dataset.jpThemeLight === '{light}'", timeout=PATIENCE)

    def active_cell(self) -> int:
        """Return which cell is the active one."""
        return int(self.page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex"))

    def cell(self, number: int) -> Any:
        """Return the locator of a cell."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def looks(self, selector: str) -> list[Look]:
        """Return the look of every element that fits, from pictures of what of it a person can see at a time."""
        found = self.page.locator(selector)
        return [self._look(found.nth(n)) for n in range(found.count())]

    def _look(self, element: Locator) -> Look:
        # A picture of a whole element that is taller than the notebook's window would be grey where it is not drawn.
        element.evaluate("element => element.scrollIntoView({ block: 'start' })")
        clip = element.evaluate(
            """element => {
              const [one, all] = [element, element.closest(".jp-NotebookPanel-notebook")].map((e) => e.getBoundingClientRect());
              const [x, y] = [Math.max(one.left, all.left), Math.max(one.top, all.top)];
              return { x, y, width: Math.min(one.right, all.right) - x, height: Math.min(one.bottom, all.bottom) - y };
            }"""
        )
        return Look(self.page.screenshot(clip=clip, animations="disabled"))

    def close(self) -> None:
        """End the kernel and close the notebook, saved or not."""
        self.page.evaluate(
            "async () => { const app = window.jupyterapp; await app.serviceManager.sessions.shutdownAll();"
            " app.shell.currentWidget?.dispose() }"
        )


class Lab:
    """A running JupyterLab, and a browser in front of it.

    Args:
        url: Where it serves, without a slash at the end.
        folder: Its notebooks.
        browser: Chromium.
        environment: The environment that its kernels have.
    """

    def __init__(self, url: str, folder: Path, browser: Browser, environment: dict[str, str]) -> None:
        self.url = url
        self.folder = folder
        self.browser = browser
        self.environment = environment
        self.context: BrowserContext = browser.new_context(viewport={"width": 1300, "height": 1000})
        self.context.set_default_timeout(PATIENCE)
        self._page: Page | None = None
        self._count = 0

    @contextlib.contextmanager
    def notebook(self, *cells: str, theme: str | None = None) -> Iterator[Notebook]:
        """Open a new notebook of these cells; nothing has run. Afterwards its kernel is gone."""
        self._count += 1
        path = self.folder / f"notebook-{self._count}.ipynb"
        spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        made = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata={"kernelspec": spec}
        )
        nbformat.write(made, path)
        notebook = Notebook(page := self._at(path), path, Complaints(page))
        try:
            notebook.wait_ready()
            if theme is not None:
                notebook.theme(theme)
            yield notebook
            notebook.close()
        except BaseException:  # the next one gets a page that nothing has happened to
            self._page = None
            page.close()
            raise
        finally:
            notebook.complaints.close()

    def _at(self, path: Path) -> Page:
        """Return the page with a notebook opened: the one of before, because loading the application takes seconds."""
        if self._page is None:
            self._page = self.context.new_page()
            self._page.goto(f"{self.url}/doc/tree/{path.name}?reset")
        else:
            self._page.evaluate(
                "async path => { await window.jupyterapp.commands.execute('docmanager:open', {path}) }", path.name
            )
        shown = "path => window.jupyterapp?.shell.currentWidget?.context?.path === path"
        self._page.wait_for_function(shown, arg=path.name, timeout=PATIENCE)
        return self._page


class Notebook7(Lab):
    """A running Notebook 7, which shows every notebook in a page of its own, and a browser in front of it."""

    def _at(self, path: Path) -> Page:
        """Return the page with a notebook opened."""
        if self._page is None:
            self._page = self.context.new_page()
        self._page.goto(f"{self.url}/notebooks/{path.name}")
        return self._page


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/api", timeout=1):
        return True
    return False


@contextlib.contextmanager
def jupyterlab(folder: Path, browser: Browser) -> Iterator[Lab]:
    """Start a JupyterLab of its own below a folder, without a token, for this browser."""
    with _serving("jupyterlab", folder, "--LabApp.expose_app_in_browser=True") as (url, notebooks, environment):
        yield Lab(url, notebooks, browser, environment)


@contextlib.contextmanager
def notebook7(folder: Path, browser: Browser) -> Iterator[Notebook7]:
    """Start a Notebook 7 of its own below a folder, without a token, for this browser."""
    exposed = "--JupyterNotebookApp.expose_app_in_browser=True"
    with _serving("notebook", folder, exposed) as (url, notebooks, environment):
        yield Notebook7(url, notebooks, browser, environment)


@contextlib.contextmanager
def _serving(module: str, folder: Path, *more: str) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """Start an application and wait until it answers; give its address, the folder of its notebooks, its environment."""
    notebooks = folder / "notebooks"
    notebooks.mkdir(parents=True)
    environment = isolated_jupyter(folder)
    url = f"http://127.0.0.1:{(port := free_port())}"
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    options += ["--IdentityProvider.token=", f"--ServerApp.root_dir={notebooks}", *more]
    with (folder / "jupyter.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *options],
            cwd=notebooks,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: process.poll() is not None or _answers(url), within=60)
        assert process.poll() is None, (folder / "jupyter.log").read_text()
        yield url, notebooks, environment
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
