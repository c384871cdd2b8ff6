"""A real PostgreSQL for tests: its own cluster in a temporary folder, on a free port, as a user that isn't root."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

SYSTEM_USER = "postgres"
"""`initdb` refuses to run as root; Debian's package makes this user."""


def find_binaries() -> Path | None:
    """The folder of the newest server on this machine."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    candidates = [*debian, *([Path(on_path).parent] if on_path else [])]
    return next((folder for folder in candidates if (folder / "initdb").is_file()), None)


@dataclass
class PostgresServer:
    port: int
    user: str
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[PostgresServer]:
        """A server that ends with the block. Skips where there is none, but fails in CI: there it is installed."""
        binaries = find_binaries()
        if binaries is None:
            message = "no PostgreSQL server here (Debian: apt install postgresql)"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)
        root = os.geteuid() == 0
        # Not in pytest's folder: that one is closed to the other user.
        folder = Path(tempfile.mkdtemp(prefix="dataengine-postgres-"))
        data, log = folder / "data", folder / "log"
        if root:
            shutil.chown(folder, SYSTEM_USER, SYSTEM_USER)
        user = SYSTEM_USER if root else os.environ.get("USER", "postgres")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        _run([binaries / "initdb", "-D", data, "-U", user, "-A", "trust", "-E", "UTF8", "--no-sync"], root)
        settings = (
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={folder}",
            "max_connections=200",
            "fsync=off",
        )
        options = " ".join([f"-p {port}", *(f"-c {setting}" for setting in settings)])
        control = [binaries / "pg_ctl", "-D", data, "-w", "-l", log]
        _run([*control, "-o", options, "start"], root)
        try:
            yield cls(port, user)
        finally:
            _run([*control, "-m", "immediate", "stop"], root)
            shutil.rmtree(folder, ignore_errors=True)

    def new_database(self) -> str:
        """URL of a fresh, empty database."""
        name = f"test_{next(self._numbers)}"
        url = f"postgresql://{self.user}@127.0.0.1:{self.port}"
        engine = sa.create_engine(f"{url.replace('://', '+psycopg://')}/postgres", isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return f"{url}/{name}"


def _run(command: Sequence[object], root: bool) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(
        ["runuser", "-u", SYSTEM_USER, "--", *words] if root else words,
        capture_output=True,
        text=True,
        timeout=120,
        cwd="/",
        # The server keeps its output open; what it says lies in its log.
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{' '.join(words)}:\n{done.stdout}{done.stderr}"
