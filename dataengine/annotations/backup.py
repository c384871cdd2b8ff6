"""Backup and restore: one file that holds everything, taken while people work, checked before it counts."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.engine import URL

from dataengine.annotations.database import Database, checked_url
from dataengine.annotations.events import ChainReport, verify_chain
from dataengine.errors import EngineError
from dataengine.home.storage import sync

PAGES_AT_ONCE = 4096
"""Copied between two pauses in which writers get on."""


def backup(url: str, target: Path) -> int:
    """Writes the database at `url` to the file `target`, consistently, and checks it; returns its bytes.

    SQLite: a SQLite file again, by its backup API. PostgreSQL: `pg_dump`'s custom format. Raises EngineError
    when `target` exists, when the tools aren't there, or when the copy is not whole.
    """
    parsed = checked_url(url)
    if target.exists():
        raise EngineError(f"{target}: exists already; choose another name")
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        if parsed.get_backend_name() == "sqlite":
            _copy_sqlite(_file_of(parsed), part)
        else:
            _run_tool("pg_dump", ["--format=custom", "--no-owner", f"--file={part}"], parsed)
        sync(part)
        part.replace(target)
        sync(target.parent)
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def restore(url: str, source: Path, *, replace: bool = False) -> ChainReport:
    """Makes the database at `url` what the backup `source` holds; returns the check of its event chain.

    Nobody may have the database open. One that holds something is only replaced when told to; a replaced SQLite
    file stays beside it as `<name>.before-<time>`. Raises EngineError for anything that is not such a backup.
    """
    parsed = checked_url(url)
    if not source.is_file():
        raise EngineError(f"{source}: no such file")
    if parsed.get_backend_name() == "sqlite":
        _restore_sqlite(_file_of(parsed), source, replace)
    else:
        _restore_postgresql(parsed, source, replace)
    database = Database(url)
    try:
        with database.read() as connection:
            return verify_chain(connection)
    finally:
        database.close()


def _file_of(url: URL) -> Path:
    return Path(url.database or "")


def _copy_sqlite(source: Path, target: Path) -> None:
    if not source.is_file():
        raise EngineError(f"{source}: there is no annotation database yet")
    try:
        with contextlib.closing(sqlite3.connect(f"file:{_quoted(source)}?mode=ro", uri=True)) as old:
            _require_ours(old, source)
            with contextlib.closing(sqlite3.connect(target)) as new:
                old.backup(new, pages=PAGES_AT_ONCE, sleep=0.01)
                # A single file: the copy must not need a journal beside it.
                new.execute("PRAGMA journal_mode = DELETE")
                problem = new.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.Error as error:
        raise EngineError(f"{source}: {error}") from error
    if problem != "ok":
        raise EngineError(f"{source}: the copy is damaged: {problem}")


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"alembic_version", "event", "mask_revision"} <= names:
        raise EngineError(f"{path}: is not an annotation database")


def _restore_sqlite(target: Path, source: Path, replace: bool) -> None:
    part = target.with_name(f".{target.name}.restore")
    part.unlink(missing_ok=True)
    try:
        _copy_sqlite(source, part)
        if target.exists():
            if not replace:
                raise EngineError(f"{target}: holds a database already; say --replace to put the backup in its place")
            _put_aside(target)
        for suffix in ("-wal", "-shm"):
            # A journal of the old file would be replayed into the new one.
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        sync(part)
        part.replace(target)
        sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _put_aside(target: Path) -> None:
    """Keeps the old database under another name, whole: also what only its journal holds."""
    with contextlib.closing(sqlite3.connect(target)) as old:
        busy = old.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise EngineError(f"{target}: somebody works with it; stop the annotation server first")
    target.rename(target.with_name(f"{target.name}.before-{time.strftime('%Y%m%d-%H%M%S')}"))


def _restore_postgresql(url: URL, source: Path, replace: bool) -> None:
    held = _run_tool("psql", ["-Atc", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"], url).strip()
    if held != "0":
        if not replace:
            shown = url.render_as_string(hide_password=True)
            raise EngineError(f"{shown}: holds tables already; say --replace to put the backup in their place")
        _run_tool("psql", ["-qc", "DROP SCHEMA public CASCADE", "-c", "CREATE SCHEMA public"], url)
    _run_tool("pg_restore", ["--no-owner", "--single-transaction", "--exit-on-error", str(source)], url)


def _run_tool(name: str, arguments: Sequence[str], url: URL) -> str:
    """Runs one of PostgreSQL's client tools on the database; the password goes by the environment."""
    tool = find_tool(name)
    address = ["--host", url.host or "localhost", "--port", str(url.port or 5432), "--username", url.username or ""]
    where = [part for part in address if part] if url.username else address[:4]
    environment = dict(os.environ)
    if url.password:
        environment["PGPASSWORD"] = str(url.password)
    command = [str(tool), "--no-password", *where, f"--dbname={url.database}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise EngineError(f"{name} on {url.render_as_string(hide_password=True)}: {lines[0]}")
    return done.stdout


def find_tool(name: str) -> Path:
    """On the PATH, or where Debian keeps the newest version. Raises EngineError when it isn't installed."""
    found = shutil.which(name)
    if found:
        return Path(found)
    debian = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]), reverse=True
    )
    if not debian:
        raise EngineError(
            f"{name} is not here; install PostgreSQL's client tools (Debian: apt install postgresql-client)"
        )
    return debian[0]


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path.absolute()))
