"""The slip of a return: what a customer prints and puts into the parcel, or shows in a store."""

from __future__ import annotations

from html import escape
from string import Template
from typing import TYPE_CHECKING, Final

from onhand.orders.desk import rfc3339

if TYPE_CHECKING:
    from onhand.model.returns import Return
    from onhand.model.setup import Location, Setup

MEDIA_TYPE: Final = "text/html; charset=utf-8"

_PAGE: Final = Template(
    """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Return $id</title>
<style>
body { font: 12pt/1.4 sans-serif; margin: 2cm; max-width: 18cm }
h1 { font: bold 20pt monospace; letter-spacing: .05em; border: 2px solid; padding: .4em }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid #999; padding: .3em; text-align: left }
</style>
</head>
<body>
<p>Return authorisation</p>
<h1>$id</h1>
<p>$about</p>
<p>$where</p>
<table>
<thead><tr><th>Article</th><th>Units</th><th>Reason</th></tr></thead>
<tbody>
$rows</tbody>
</table>
<p>Valid until $until.</p>
</body>
</html>
"""
)
_ROW: Final = Template("<tr><td>$name</td><td>$units</td><td>$reason</td></tr>\n")


def slip(return_: Return, setup: Setup) -> str:
    """Write a page that prints on one sheet; units that have come already are not on it."""
    rows = "".join(
        _ROW.substitute(
            name=escape(_name_of(setup, line.sku)), units=line.awaited, reason=escape(line.reason)
        )
        for line in return_.lines
        if line.awaited
    )
    return _PAGE.substitute(
        id=escape(return_.id),
        about=escape(_about(return_)),
        where=escape(_where(return_, setup)),
        rows=rows,
        until=rfc3339(return_.expires_us)[:10],
    )


def _about(return_: Return) -> str:
    if return_.order_id is not None:
        return f"Order {return_.order_id}"
    if return_.receipt is not None:
        return f"Receipt {return_.receipt}"
    return "Without a receipt"


def _where(return_: Return, setup: Setup) -> str:
    if return_.location is None:
        return "Bring it to any store." if return_.channel == "store" else "Send it to any store."
    known = setup.locations.get(return_.location)
    place = _address(known) if known is not None else return_.location
    return f"Bring it to any store, or to {place}." if return_.channel == "store" else f"To {place}"


def _address(location: Location) -> str:
    parts = [location.name, " ".join(filter(None, (location.country, location.postal_code)))]
    return ", ".join(filter(None, parts))


def _name_of(setup: Setup, sku: str) -> str:
    known = setup.skus.get(sku)
    return f"{known.name} ({sku})" if known is not None and known.name else sku
