"""Who may call what: a bearer token's role against the role of a route.

``/healthz``, ``/readyz``, ``/metrics``, ``/docs`` and ``/openapi.json`` are open: probes and
scrapers carry no tokens, and nothing they answer names a customer or an order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from onhand.web.problem import ProblemCode, ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler

    from onhand.ledger import Authenticator
    from onhand.model.access import Grant, Role

_CHALLENGE: Final = [("www-authenticate", 'Bearer realm="onhand"')]


def require(
    authenticator: Authenticator,
    authorization: str | None,
    role: Role,
    location: str | None = None,
    *,
    also: tuple[Role, ...] = (),
) -> Grant:
    """Let a request pass, or end it.

    Parameters
    ----------
    also
        Other roles that open the route, wherever it is about.

    Raises
    ------
    ProblemError
        401 without a valid token, 403 when its role or its locations do not cover the route.
    """
    grant = authenticator.authenticate(authorization)
    if grant is None:
        detail = (
            "The request has no Authorization header."
            if authorization is None
            else "The token is not valid, or was revoked."
        )
        raise ProblemError(ProblemCode.UNAUTHENTICATED, detail, headers=_CHALLENGE)
    if not grant.allows(role, location) and not any(map(grant.allows, also)):
        where = f" at {location}" if location is not None else ""
        roles = " or ".join((role, *also))
        raise ProblemError(
            ProblemCode.FORBIDDEN,
            f"This needs the role {roles}{where}; the token has the role {grant.role}.",
        )
    return grant


def guard(
    role: Role, *also: Role
) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]:
    """Make a guard that opens a framework's route to a role, and to others too."""

    def check(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        authenticator: Authenticator = connection.app.state.services.authenticator
        require(authenticator, connection.headers.get("authorization"), role, also=also)

    check.role = " or ".join((role, *also))  # type: ignore[attr-defined]
    return check
