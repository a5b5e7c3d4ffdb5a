"""Who may do what: the roles of access tokens and what each includes."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

Role = Literal["storefront", "publisher", "orders", "associate", "admin"]

ROLES: Final[tuple[Role, ...]] = ("storefront", "publisher", "orders", "associate", "admin")

INCLUDES: Final[dict[Role, frozenset[Role]]] = {
    "storefront": frozenset({"storefront"}),
    "publisher": frozenset({"publisher"}),
    # Whoever promises stock or hands it over must be able to look it up.
    "orders": frozenset({"orders", "storefront"}),
    "associate": frozenset({"associate", "storefront"}),
    "admin": frozenset(ROLES),
}


class Grant(Struct, frozen=True, kw_only=True):
    """What a request may do: the role of its token and, for associates, the locations."""

    token_id: str
    role: Role
    locations: frozenset[str] = frozenset()

    def allows(self, role: Role, location: str | None = None) -> bool:
        """Tell whether a route of ``role`` is open, for ``location`` when it is about one."""
        if role not in INCLUDES[self.role]:
            return False
        # An associate reads stock anywhere, and does a store's work only at its own locations.
        bound = self.role == "associate" and role == "associate" and location is not None
        return not bound or location in self.locations


OPEN_GRANT: Final = Grant(token_id="none", role="admin")  # noqa: S106 - says there is no token
"""What every request has when a server runs with ``no_auth``."""
