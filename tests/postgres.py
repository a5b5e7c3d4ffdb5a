"""PostgreSQL for tests: the server that ``ONHAND_TEST_POSTGRES`` names, or one of our own.

A throwaway server runs from the binaries that are installed (Debian keeps them off the path), as
an unprivileged user when the tests run as root, which PostgreSQL refuses. Every test gets a new
database. Without binaries a run skips these tests, and a gate (``CI=true``) fails.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import psycopg
import pytest

from tests.needs import lack
from tests.ports import free_port

SERVER = "ONHAND_TEST_POSTGRES"
START_S_MAX = 60
ADVICE = (
    f"install PostgreSQL (Debian: apt-get install postgresql) or name a server's URL in {SERVER}"
)


def find_binaries():
    """Answer the folder that holds ``initdb``, the newest version first; None without one."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    onpath = shutil.which("initdb")
    candidates = [*debian, *([Path(onpath).resolve().parent] if onpath else [])]
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


@contextlib.contextmanager
def throwaway_server(binaries, *, fsync=False):
    """Run a server on a free port of this machine; yield the URL of its first database.

    Only with ``fsync`` does a commit wait for the disk, which tests need not.
    """
    user = _unprivileged_user()
    folder = Path(tempfile.mkdtemp(prefix="onhand-postgres-"))
    try:
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data = folder / "data"
        initdb = [binaries / "initdb", "-D", data, "-U", "onhand", "-A", "trust", "--no-sync"]
        subprocess.run(
            [*initdb, "-E", "UTF8", "--locale=C"],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            env=_unwatched(),
            **_as(user),
        )
        port = free_port()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
            "fsync": "on" if fsync else "off",
        }
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (folder / "server.log").open("wb") as output:
            server = subprocess.Popen(
                [binaries / "postgres", "-D", data, *given],
                cwd=folder,
                stdout=output,
                stderr=output,
                env=_unwatched(),
                **_as(user),
            )
        try:
            url = f"postgresql://onhand@127.0.0.1:{port}/postgres"
            _wait_ready(url, server, folder / "server.log")
            yield url
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=START_S_MAX)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def new_database(server_url):
    """Make a database on the server; yield its URL; drop it."""
    name = f"onhand_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield f"{server_url.rpartition('/')[0]}/{name}"
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def postgres_server():
    """Give the URL of a server on which databases may be made."""
    if os.environ.get(SERVER):
        yield os.environ[SERVER].replace("postgresql+psycopg://", "postgresql://")
        return
    binaries = find_binaries()
    if binaries is None:
        lack(f"no PostgreSQL was found: {ADVICE}")
    with throwaway_server(binaries) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server):
    """Give the URL of a new, empty database."""
    with new_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="module")
def module_postgres_url(postgres_server):
    """Give the URL of a new database that the tests of a module share."""
    with new_database(postgres_server) as url:
        yield url


def _version(folder):
    digits = folder.parent.name.split(".")[0]
    return int(digits) if digits.isdigit() else 0


def _unwatched():
    """Leave out the sanitizers that a run may have loaded: PostgreSQL is not what they watch."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def _unprivileged_user():
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _as(user):
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _wait_ready(url, server, log):
    give_up = time.monotonic() + START_S_MAX
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}") from None
            time.sleep(0.05)
        else:
            return
