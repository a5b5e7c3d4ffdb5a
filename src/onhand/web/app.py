"""The application: routes and how their failures are told."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from litestar import Litestar, Request, Response, route
from litestar.datastructures import State
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
)

from onhand.web import (
    aisle,
    availability,
    customers,
    events,
    explain,
    holds,
    operating,
    orders,
    promises,
    recommendations,
    returns,
    setup,
    stream,
    tasks,
)
from onhand.web.problem import ProblemCode, ProblemError, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar.handlers import HTTPRouteHandler

    from onhand.web.services import Services

READ_ROUTES: Final = (
    availability.read_availability,
    availability.query_availability,
    availability.read_nearby,
    stream.follow_availability,
    explain.explain_availability,
    recommendations.read_together,
    operating.healthz,
    operating.readyz,
    operating.metrics,
    operating.openapi_json,
    operating.docs,
)
WRITE_ROUTES: Final = (
    events.post_events,
    promises.ask_promise,
    holds.place_hold,
    holds.read_hold,
    holds.release_hold,
    holds.extend_hold,
    orders.place_order,
    orders.list_orders,
    orders.read_order,
    orders.cancel_order,
    orders.explain_order,
    tasks.list_tasks,
    tasks.pick_task,
    tasks.pack_task,
    tasks.ship_task,
    tasks.ready_task,
    tasks.collect_task,
    tasks.reject_task,
    aisle.look_through_aisle,
    recommendations.recommend_to_customer,
    returns.authorise_return,
    returns.list_returns,
    returns.read_return,
    returns.print_slip,
    returns.explain_return,
    returns.receive_return,
    returns.inspect_return,
    returns.cancel_return,
    returns.put_return_policy,
    returns.read_return_policy,
    customers.read_customer,
    customers.put_wishlist,
    customers.erase_customer,
    setup.put_location,
    setup.list_locations,
    setup.put_skus,
    setup.put_safety_stock,
)


def build_app(services: Services, *, reads_only: bool) -> Litestar:
    """Build the framework's application on a process's services."""
    routes = READ_ROUTES if reads_only else (*READ_ROUTES, *WRITE_ROUTES)
    return Litestar(
        # In this order: where a path has no OPTIONS yet, the framework adds its own.
        route_handlers=[*_methods_told(routes), *routes],
        openapi_config=None,  # Ours is made of the same types; see onhand.web.openapi.
        exception_handlers={Exception: answer_failure},
        state=State({"services": services}),
        request_max_body_size=None,  # The front has read the body, within the limit.
        logging_config=None,
    )


def _methods_told(routes: Iterable[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """Answer OPTIONS of every path: the framework's own answer names one handler's methods only."""
    methods: defaultdict[str, set[str]] = defaultdict(lambda: {"OPTIONS"})
    for handler in routes:
        for path in handler.paths:
            methods[path].update(handler.http_methods)
    return [_teller(path, ", ".join(sorted(allowed))) for path, allowed in methods.items()]


def _teller(path: str, allow: str) -> HTTPRouteHandler:
    @route(path, http_method=["OPTIONS"], status_code=204, sync_to_thread=False)
    def tell_methods() -> Response[None]:
        return Response(None, status_code=204, headers={"allow": allow})

    return tell_methods


def answer_failure(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Turn any exception of a handler into a problem."""
    reply = _problem(error).reply()
    return Response(reply.body, status_code=reply.status, headers=dict(reply.headers))


def _problem(error: Exception) -> ProblemError:
    if isinstance(error, MethodNotAllowedException):
        allow = (error.headers or {}).get("allow", "")
        return ProblemError(
            ProblemCode.METHOD_NOT_ALLOWED, f"This path takes {allow}.", headers=[("allow", allow)]
        )
    if isinstance(error, NotFoundException):
        return ProblemError(ProblemCode.NOT_FOUND, "No route of this server has this path.")
    if isinstance(error, HTTPException) and error.status_code < 500:  # noqa: PLR2004 - of HTTP
        return ProblemError(ProblemCode.INVALID_REQUEST, error.detail)
    return problem_of(error)
