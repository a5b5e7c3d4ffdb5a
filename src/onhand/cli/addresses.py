"""Where servers listen, and how a client on the same machine finds them."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Final

import msgspec

from onhand.errors import OnhandError

if TYPE_CHECKING:
    from onhand.settings import Settings

_ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - as a client calls it


class PortInUseError(OnhandError):
    """Somebody else listens on the port."""

    code = "port_in_use"


def local_host(host: str) -> str:
    """Name the address at which a client on this machine reaches a server bound to ``host``."""
    bare = host.strip("[]")
    return _ANY_HOST.get(bare, bare)


def base_url(settings: Settings) -> str:
    """Write the address at which a client on this machine finds the server."""
    host = local_host(settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def with_free_port(settings: Settings) -> Settings:
    """Settle the port before any process starts, so that a taken one is said at once."""
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, settings.port))
        except OSError as error:
            raise _port_error(settings, error) from error
        return msgspec.structs.replace(settings, port=probe.getsockname()[1])


def _port_error(settings: Settings, error: OSError) -> OnhandError:
    if error.errno == errno.EADDRINUSE:
        return PortInUseError(
            f"port {settings.port} of {settings.host} is in use",
            "Stop the program that listens there, or choose another with --port",
        )
    return OnhandError(
        f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}",
        "Correct --host and --port",
    )
