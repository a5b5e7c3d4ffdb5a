"""``onhand up``: everything on this machine, as one tree of processes."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
from typing import TYPE_CHECKING, Final

import click
import msgspec

from onhand import tracing
from onhand.cli.addresses import base_url, local_host, with_free_port
from onhand.cli.options import settings_options
from onhand.errors import AlreadyRunning, OnhandError, SettingsError
from onhand.identity import open_identity
from onhand.logging import get_logger
from onhand.settings import mask_url
from onhand.supervise import Child, Supervisor, command, environment_of
from onhand.table.directory import TableDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from onhand.settings import Settings

log = get_logger(__name__)

PORT_MAX: Final = 65_535
_PROBE_TIMEOUT_S: Final = 0.5


@click.command()
@settings_options()
def up(settings: Settings) -> None:
    """Run everything on this machine: ingest, the server, and storefront workers if asked for.

    A process that dies is started again. SIGTERM, SIGINT or Ctrl-C ends all of them.
    """
    tracing.require(settings)
    with _only_one(settings.data):
        cluster_id = open_identity(settings.data).id
        tables = TableDirectory(settings.table_dir, cluster_id)
        _remove_leftovers(settings.data, tables)
        settings = with_free_port(settings)
        children = children_of(settings, tables)
        try:
            Supervisor(children, lambda: click.echo(_welcome(settings))).run()
        finally:
            _remove_leftovers(settings.data, tables)


def children_of(settings: Settings, tables: TableDirectory) -> list[Child]:
    """List the processes that make up a deployment on one machine.

    Storefront workers listen one port above the server.
    """
    environment = environment_of(settings)

    def child(name: str, probe_settings: Settings) -> Child:
        return Child(
            name=name,
            argv=command(name),
            environment=environment_of(probe_settings),
            is_started=lambda: _is_alive(probe_settings.host, probe_settings.port),
        )

    ingest = Child(
        name="ingest",
        argv=command("ingest"),
        environment=environment,
        is_started=lambda: _is_published(tables, settings.shard_count),
    )
    children = [ingest, child("serve", settings)]
    if settings.storefront_worker_count:
        children.append(child("storefront", storefront_settings(settings)))
    return children


def storefront_settings(settings: Settings) -> Settings:
    """Derive the settings of the storefront workers that stand beside a server."""
    if settings.port >= PORT_MAX:
        raise SettingsError(
            f"port is {settings.port}, and storefront workers need the one above it",
            f"Choose a port below {PORT_MAX}",
        )
    return msgspec.structs.replace(settings, port=settings.port + 1)


@contextlib.contextmanager
def _only_one(data: Path) -> Iterator[None]:
    try:
        data.mkdir(parents=True, exist_ok=True)
        file = (data / "up.lock").open("a+")
    except OSError as error:
        raise OnhandError(
            f"cannot use the data directory {data}: {error.strerror}",
            "Correct --data or the rights on the directory",
        ) from error
    with file:
        if not _try_lock(file.fileno()):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise AlreadyRunning(
                f"process {holder} already runs `onhand up` on {data}",
                "Stop it first, or give this one a --data directory of its own",
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_leftovers(data: Path, tables: TableDirectory) -> None:
    """Free the shared memory of a tree that was killed; what another writer uses stays."""
    with (data / "ingest.lock").open("a") as file:
        if _try_lock(file.fileno()) and tables.path.exists():
            tables.remove()
            log.info("shared_memory_freed", path=str(tables.path))


def _is_alive(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(local_host(host), port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _is_published(tables: TableDirectory, shard_count: int) -> bool:
    return all(tables.published_path(shard).exists() for shard in range(shard_count))


def _welcome(settings: Settings) -> str:
    url = base_url(settings)
    lines = [
        "onhand is up; Ctrl-C ends it.",
        f"  server       {url}",
        f"  docs         {url}/docs",
        f"  metrics      {url}/metrics",
    ]
    if settings.storefront_worker_count:
        storefront = base_url(storefront_settings(settings))
        lines.append(f"  storefront   {storefront} ({settings.storefront_worker_count} workers)")
    lines += [
        f"  data         {settings.data}",
        f"  event log    {f'Kafka at {settings.kafka}' if settings.kafka else 'embedded'}",
        f"  ledger       {mask_url(settings.database) if settings.database else 'embedded'}",
        f"  access       {_access(settings)}",
    ]
    return "\n".join(lines)


def _access(settings: Settings) -> str:
    if settings.no_auth:
        return "open to every program on this machine (--no-auth)"
    database = " --database URL" if settings.database else ""
    return f"by token: onhand token create --role ROLE --data {settings.data}{database}"
