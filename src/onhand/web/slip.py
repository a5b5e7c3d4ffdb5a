"""The slip of a return: what a customer prints and puts into the parcel, or shows in a store."""

from __future__ import annotations

from html import escape
from string import Template
from typing import TYPE_CHECKING, Final

from onhand.orders.desk import rfc3339

if TYPE_CHECKING:
    from onhand.model.returns import Return
    from onhand.model.setup import Setup

MEDIA_TYPE: Final = "text/html; charset=utf-8"

_PAGE: Final = Template(
    """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Return $id</title>
<style>
@page { size: A4; margin: 2cm }
body { font: 12pt/1.45 sans-serif; color: #000; margin: 0 auto; max-width: 17cm }
@media screen { body { margin: 1.5cm auto; padding: 0 1cm } }
header { display: flex; justify-content: space-between; align-items: baseline }
h1 { font-size: 22pt; margin: 0 }
.id { border: 2.5pt solid; padding: .5em .7em; margin: .6em 0 1em }
.id b { display: block; font: bold 19pt monospace; letter-spacing: .06em }
.sides { display: flex; gap: 1cm }
.sides > * { flex: 1; margin: 0 }
.where { border: 1pt dashed; padding: .7em 1em }
.where b { display: block; font-size: 15pt }
dl { display: grid; grid-template-columns: auto 1fr; gap: .2em 1em; align-content: start }
dd { margin: 0 }
small, dt, th { color: #444 }
th { font-size: 10pt; font-weight: normal }
table { border-collapse: collapse; width: 100%; margin-top: 1.2em; table-layout: fixed }
th, td { border-bottom: 1px solid #888; padding: .45em .4em; text-align: left }
td { overflow-wrap: anywhere; vertical-align: top }
td small { display: block; font-family: monospace }
tr { break-inside: avoid }
.units { text-align: right; width: 3.5em }
.box { width: 5em }
.box i { display: inline-block; width: 2.6em; height: 1.2em; border: 1px solid #888 }
</style>
</head>
<body>
<header><h1>Return slip</h1><span>Valid until <b>$until</b></span></header>
<div class="id"><small>Return authorisation</small><b>$id</b></div>
<div class="sides">
<div class="where"><small>$verb</small>$where</div>
<dl>
<dt>Return of</dt><dd>$about</dd>
<dt>Announced</dt><dd>$announced</dd>
<dt>Units</dt><dd>$total</dd>
</dl>
</div>
<table>
<thead><tr><th>Article</th><th class="units">Units</th><th>Reason</th>
<th class="box">Received</th></tr></thead>
<tbody>
$rows</tbody>
</table>
<p>$how</p>
</body>
</html>
"""
)
_ROW: Final = Template(
    '<tr><td>$name</td><td class="units">$units</td><td>$reason</td>'
    '<td class="box"><i></i></td></tr>\n'
)
_MAIL: Final = "Put this page into the parcel, with these articles and no others."
_STORE: Final = "Show this page in the store, on paper or on a telephone, with these articles."


def slip(return_: Return, setup: Setup) -> str:
    """Write a page that prints on one sheet; units that have come already are not on it."""
    awaited = [line for line in return_.lines if line.awaited]
    rows = "".join(
        _ROW.substitute(
            name=_article(setup, line.sku), units=line.awaited, reason=escape(line.reason)
        )
        for line in awaited
    )
    by_mail = return_.channel == "mail"
    return _PAGE.substitute(
        id=escape(return_.id),
        until=rfc3339(return_.expires_us)[:10],
        verb="Send it to" if by_mail else "Bring it to",
        where=_where(return_, setup),
        about=escape(_about(return_)),
        announced=rfc3339(return_.created_us)[:10],
        total=sum(line.awaited for line in awaited),
        rows=rows,
        how=_MAIL if by_mail else _STORE,
    )


def _about(return_: Return) -> str:
    if return_.order_id is not None:
        return f"Order {return_.order_id}"
    if return_.receipt is not None:
        return f"Receipt {return_.receipt}"
    return "Goods without a receipt"


def _where(return_: Return, setup: Setup) -> str:
    """Write where it goes to: a store's own name first, and what else is known of the place."""
    if return_.location is None:
        return "<b>Any of our stores</b>"
    known = setup.locations.get(return_.location)
    name = known.name if known is not None else return_.location
    lines = [f"<b>{escape(name)}</b>"]
    if known is not None and (code := " ".join(filter(None, (known.country, known.postal_code)))):
        lines.append(f"{escape(code)}<br>")
    if return_.channel == "store":
        lines.append("or any other store")
    return "\n".join(lines)


def _article(setup: Setup, sku: str) -> str:
    known = setup.skus.get(sku)
    if known is None or not known.name:
        return escape(sku)
    return f"{escape(known.name)}<small>{escape(sku)}</small>"
