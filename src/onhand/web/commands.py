"""Commands over HTTP: judged by their types, put to the order writer, answered as it says.

A command is a row of :data:`COMMANDS`; routes differ in nothing else.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

import msgspec
from litestar import Request, Response
from msgspec import Struct

from onhand.errors import FieldError, InvalidInput
from onhand.model.commands import (
    AskPromise,
    CancelOrder,
    CollectTask,
    Command,
    ExtendHold,
    PackTask,
    PickTask,
    PlaceHold,
    PlaceOrder,
    ReadyTask,
    RejectTask,
    ShipTask,
)
from onhand.model.return_commands import (
    AuthoriseReturn,
    CancelReturn,
    InspectReturn,
    ReceiveReturn,
)
from onhand.model.validate import build
from onhand.orders.desk import Actor
from onhand.orders.engine import Asked
from onhand.web.auth import require
from onhand.web.problem import (
    ProblemCode,
    ProblemError,
    decode_json,
    refusal_reply,
)
from onhand.web.reply import Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from onhand.ledger import Authenticator
    from onhand.model.access import Grant, Role
    from onhand.web.limits import RateLimits
    from onhand.writer.answer import Answer

CREATED: Final = 201
OK: Final = 200
KEY_LENGTH_MAX: Final = 255
IN_THREAD_BYTES: Final = 16_384
"""Larger bodies are judged in a thread, where other requests need not wait for them."""


class Asking(Protocol):
    """The door to the order writer."""

    def ask(
        self, asked: Asked, *, key: bytes | None = None, body_sha: bytes = b""
    ) -> Awaitable[Answer]:
        """Put a command to the writer; await what it answers."""


class CommandRoute(Struct, frozen=True, kw_only=True):
    """How one command is asked for over HTTP.

    ``what`` names its decision. A command without a ``body`` reads none; one that ``may_be_empty``
    takes no body for one that says nothing. Roles in ``also`` may give it as well. One that
    ``is_question`` changes nothing: no key of it is kept, and it is answered anew.
    """

    what: str
    method: str
    route: str
    role: Role
    body: type[Command] | None
    status: int = OK
    may_be_empty: bool = False
    also: tuple[Role, ...] = ()
    is_question: bool = False


def _task_route(verb: str, body: type[Command], *, may_be_empty: bool = False) -> CommandRoute:
    return CommandRoute(
        what=f"{verb}_task",
        method="POST",
        route=f"/v1/tasks/{{task_id}}/{verb}",
        role="associate",
        body=body,
        may_be_empty=may_be_empty,
    )


PLACE_HOLD: Final = CommandRoute(
    what="place_hold",
    method="POST",
    route="/v1/holds",
    role="orders",
    body=PlaceHold,
    status=CREATED,
)
EXTEND_HOLD: Final = CommandRoute(
    what="extend_hold",
    method="POST",
    route="/v1/holds/{hold_id}/extend",
    role="orders",
    body=ExtendHold,
)
RELEASE_HOLD: Final = CommandRoute(
    what="release_hold", method="DELETE", route="/v1/holds/{hold_id}", role="orders", body=None
)
ASK_PROMISE: Final = CommandRoute(
    what="promise",
    method="POST",
    route="/v1/promises",
    role="orders",
    body=AskPromise,
    is_question=True,
)
PLACE_ORDER: Final = CommandRoute(
    what="place_order",
    method="POST",
    route="/v1/orders",
    role="orders",
    also=("associate",),
    body=PlaceOrder,
    status=CREATED,
)
CANCEL_ORDER: Final = CommandRoute(
    what="cancel_order",
    method="POST",
    route="/v1/orders/{order_id}/cancel",
    role="orders",
    body=CancelOrder,
    may_be_empty=True,
)
PICK_TASK: Final = _task_route("pick", PickTask, may_be_empty=True)
PACK_TASK: Final = _task_route("pack", PackTask, may_be_empty=True)
READY_TASK: Final = _task_route("ready", ReadyTask, may_be_empty=True)
SHIP_TASK: Final = _task_route("ship", ShipTask)
COLLECT_TASK: Final = _task_route("collect", CollectTask)
REJECT_TASK: Final = _task_route("reject", RejectTask)

AUTHORISE_RETURN: Final = CommandRoute(
    what="authorise_return",
    method="POST",
    route="/v1/returns",
    role="associate",
    also=("orders",),
    body=AuthoriseReturn,
    status=CREATED,
)
RECEIVE_RETURN: Final = CommandRoute(
    what="receive_return",
    method="POST",
    route="/v1/returns/{return_id}/receive",
    role="associate",
    body=ReceiveReturn,
)
INSPECT_RETURN: Final = CommandRoute(
    what="inspect_return",
    method="POST",
    route="/v1/returns/{return_id}/inspect",
    role="associate",
    body=InspectReturn,
)
CANCEL_RETURN: Final = CommandRoute(
    what="cancel_return",
    method="POST",
    route="/v1/returns/{return_id}/cancel",
    role="associate",
    also=("orders",),
    body=CancelReturn,
    may_be_empty=True,
)

COMMANDS: Final = (
    PLACE_HOLD,
    EXTEND_HOLD,
    RELEASE_HOLD,
    ASK_PROMISE,
    PLACE_ORDER,
    CANCEL_ORDER,
    PICK_TASK,
    PACK_TASK,
    READY_TASK,
    SHIP_TASK,
    COLLECT_TASK,
    REJECT_TASK,
    AUTHORISE_RETURN,
    RECEIVE_RETURN,
    INSPECT_RETURN,
    CANCEL_RETURN,
)


class Commands:
    """Takes commands to the order writer, from those who may give them.

    Parameters
    ----------
    asking
        The door to the writer.
    """

    def __init__(self, asking: Asking, authenticator: Authenticator, limits: RateLimits) -> None:
        self._ask = asking.ask
        self._authenticator = authenticator
        self._limits = limits

    def admit(self, authorization: str | None, role: Role, *also: Role) -> Grant:
        """Let those pass who have one of the roles, as often as they may.

        Raises
        ------
        ProblemError
            401, 403 or 429.
        """
        grant = require(self._authenticator, authorization, role, also=also)
        self._limits.take(grant.token_id)
        return grant

    async def carry_out(
        self,
        route: CommandRoute,
        body: bytes,
        grant: Grant,
        *,
        target: str = "",
        idempotency_key: str | None = None,
    ) -> Reply:
        """Answer a command once what it changes is on disk. Hot.

        Parameters
        ----------
        target
            Id of what the command is about.
        idempotency_key
            The header of that name; of a question it is not looked at.

        Raises
        ------
        ProblemError
            The body is not JSON, or the key breaks a rule.
        InvalidInput
            The body breaks rules; each field is named.
        """
        if len(body) > IN_THREAD_BYTES:
            said = await asyncio.to_thread(read_command, route, body)
        else:
            said = read_command(route, body)
        asked = Asked(what=route.what, body=said, target=target, actor=actor_of(grant))
        if idempotency_key is None or route.is_question:
            answer = await self._ask(asked)
        else:
            key = key_of(grant, route, target, idempotency_key)
            answer = await self._ask(asked, key=key, body_sha=sha256(body).digest())
        if answer.refused:
            return refusal_reply(answer.document)
        return Reply(route.status, answer.document)


async def answer_command(
    request: Request[Any, Any, Any], route: CommandRoute, target: str = ""
) -> Response[bytes]:
    """Answer a framework's request by a command.

    Parameters
    ----------
    target
        The id in its path, as it stands there.
    """
    commands = commands_of(request)
    grant = commands.admit(request.headers.get("authorization"), route.role, *route.also)
    reply = await commands.carry_out(
        route,
        await request.body(),
        grant,
        target=unquote(target),
        idempotency_key=request.headers.get("idempotency-key"),
    )
    return Response(reply.body, status_code=reply.status, headers=dict(reply.headers))


def commands_of(request: Request[Any, Any, Any]) -> Commands:
    """Return what takes the commands of a framework's request."""
    commands: Commands = request.app.state.services.commands
    return commands


def read_command(route: CommandRoute, body: bytes) -> Command | None:
    """Read a command's body; 2 us for a short one that breaks no rule.

    Raises
    ------
    ProblemError
        ``malformed_json``.
    InvalidInput
        Naming each unknown, missing or wrong field with its rule.
    """
    if route.body is None:
        return None
    if not body and route.may_be_empty:
        return route.body()
    try:
        return _DECODE[route.what](body)
    except (msgspec.ValidationError, InvalidInput):
        # Slower, and it names every field at fault instead of the first.
        return build(route.body, decode_json(body), what=f"not a valid {_words(route.what)}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(ProblemCode.MALFORMED_JSON, str(error) or "nested too deep") from error


def actor_of(grant: Grant) -> Actor:
    """Name who asks, for histories, with the locations that an associate is bound to."""
    bound = grant.locations if grant.role == "associate" else None
    return Actor(grant.token_id, bound, grant.role)


def key_of(grant: Grant, route: CommandRoute, target: str, idempotency_key: str) -> bytes:
    """Hash who asks what of which thing under which key.

    Raises
    ------
    ProblemError
        The key is empty, too long, or holds what cannot be printed.
    """
    if not 0 < len(idempotency_key) <= KEY_LENGTH_MAX or not idempotency_key.isprintable():
        rule = f"must be 1 to {KEY_LENGTH_MAX} printable characters"
        raise ProblemError(
            ProblemCode.INVALID_REQUEST,
            f"Idempotency-Key {rule}",
            [FieldError("/Idempotency-Key", rule)],
        )
    # A command's name stands for its method and path; no part can hold a NUL but the target, and
    # the key after it is the last.
    scope = f"{grant.token_id}\0{route.what}\0{len(target)}\0{target}\0{idempotency_key}"
    return sha256(scope.encode("utf-8", "surrogatepass")).digest()


def _words(what: str) -> str:
    return _NAMES.get(what) or " ".join(reversed(what.split("_")))


_NAMES: Final = {
    "promise": "question",
    "place_hold": "hold",
    "extend_hold": "extension",
    "place_order": "order",
    "cancel_order": "cancellation",
    "authorise_return": "return",
    "receive_return": "reception",
    "inspect_return": "inspection",
    "cancel_return": "cancellation",
}
"""What bodies are called where the command's own words make no name."""


_DECODE: Final[dict[str, Callable[[bytes], Command]]] = {
    route.what: msgspec.json.Decoder(route.body).decode
    for route in COMMANDS
    if route.body is not None
}
