"""Databases as CodeWorm writes them, and a process that goes on writing to one."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager

COLUMNS = (
    *("id", "source_repo", "source_file", "function_name", "class_name", "code_hash", "documented_at", "snippet_path"),
    *("git_commit", "doc_type"),
)
SCHEMA = """
CREATE TABLE IF NOT EXISTS documented_snippets (
    id TEXT PRIMARY KEY,
    source_repo TEXT NOT NULL,
    source_file TEXT NOT NULL,
    function_name TEXT,
    class_name TEXT,
    code_hash TEXT NOT NULL,
    documented_at TIMESTAMP NOT NULL,
    snippet_path TEXT NOT NULL,
    git_commit TEXT,
    doc_type TEXT NOT NULL DEFAULT 'function_doc'
);
CREATE INDEX IF NOT EXISTS idx_code_hash ON documented_snippets(code_hash);
"""
INSERT = f"INSERT INTO documented_snippets VALUES ({', '.join('?' * len(COLUMNS))})"

WRITER = f"""
import sqlite3, sys, threading
path, is_kept = sys.argv[1], sys.argv[2] == "kept"
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
database, written = sqlite3.connect(path, timeout=10), 0
print("ready", flush=True)
while not stop.wait(0.001):  # CodeWorm pauses for minutes
    if not is_kept:
        database.close()
        database = sqlite3.connect(path, timeout=10)
    for half in "ab":  # one transaction: who sees one of them sees both
        database.execute({INSERT!r}, (f"{{half}}{{written}}", "click", "/x/a.py", "f", None, "0", "2026-11-22T16:58:50", "p", f"{{written:08x}}", "til"))
    database.commit()
    written += 1
database.close()
print(written, flush=True)
"""

# A cache of ten pages writes to the file before there is a commit.
KILLED_IN_THE_MIDST = f"""
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 10")
database.execute("BEGIN IMMEDIATE")
for n in range(3000):
    database.execute({INSERT!r}, (f"lost{{n}}", "click", "/x/a.py", "f" * 200, None, "0", "2026", "p", None, "til"))
database.execute("UPDATE documented_snippets SET source_repo = 'torn'")
os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED_AFTER_A_COMMIT = f"""
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute({INSERT!r}, ("last", "click", "/x/a.py", "f", None, "0", "2026", "p", None, "til"))
database.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""


def row(number=0, **values):
    """Returns one row as CodeWorm writes it."""
    made = {
        "id": f"id{number}",
        "source_repo": "click",
        "source_file": "/home/user/dev/click/src/click/core.py",
        "function_name": f"f{number}",
        "class_name": None,
        "code_hash": "0" * 64,
        "documented_at": f"2026-11-22T16:{number // 60 % 60:02}:{number % 60:02}.000001",
        "snippet_path": f"snippets/python/f{number}.md",
        "git_commit": f"{number:08x}",
        "doc_type": "function_doc",
    }
    return tuple((made | values).values())


def make_database(path, rows=(), *, mode="delete", has_doc_type=True):
    """Makes a database with some rows, which nobody has open."""
    schema, insert = SCHEMA, INSERT
    if not has_doc_type:
        schema = schema.replace(",\n    doc_type TEXT NOT NULL DEFAULT 'function_doc'", "")
        insert, rows = insert.replace("?, ?)", "?)"), [one[:-1] for one in rows]
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.executescript(schema)
        database.executemany(insert, rows)
        database.commit()
    return path


def run_killed(script, path):
    """Runs a writer that ends by a kill."""
    ended = subprocess.run([sys.executable, "-c", script, str(path)], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def files(path):
    """Returns the names beside a database, and how large what is there is."""
    return {entry.name: entry.stat().st_size for entry in os.scandir(path.parent)}


@contextmanager
def writer(path, *, is_kept):
    """Keeps a process writing pairs of rows; yields a function that ends it and returns how many pairs it wrote."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), "kept" if is_kept else "anew"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def stop():
        out, err = process.communicate()
        assert process.returncode == 0, err
        return int(out)

    try:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        yield stop
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
