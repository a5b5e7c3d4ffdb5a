"""``onhand verify``: rebuild aside, compare with the live tables, list every difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onhand.cli.options import settings_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onhand.ingest.conservation import Conserved
    from onhand.ingest.verify import Difference
    from onhand.settings import Settings
    from onhand.writer.verify import DemandDifference


@click.command()
@settings_options(
    "data",
    "kafka",
    "topic_prefix",
    "database",
    "table_dir",
    "table_bytes_max",
    "late_window",
    "count_window",
)
def verify(settings: Settings) -> int:
    """Rebuild the tables from the log and the ledger and compare them with the live ones.

    What the log says came in, less what left, must also lie somewhere, of each SKU. Runs beside a
    live server. Exit code 0: no difference; 1: differences, each listed.
    """
    from onhand.cli.progress import progress  # noqa: PLC0415 - keeps `onhand --help` quick
    from onhand.ingest.verify import verify_tables  # noqa: PLC0415
    from onhand.writer.verify import verify_demand  # noqa: PLC0415

    with progress("Replaying the log") as advance:
        verified = verify_tables(settings, advance)
    with progress("Reading the ledger", "holds and orders") as advance:
        promised = verify_demand(settings, lambda count: advance(count, 0))
    _print(verified.differences, "the log")
    _print(promised.differences, "the ledger")
    is_conserved = _print_conserved(verified.conserved)
    for name, offset in sorted(verified.offsets.items()):
        click.echo(f"{name} verified up to offset {offset}")
    click.echo(
        f"{verified.cell_count} cells from {verified.record_count} records compared, "
        f"{len(verified.differences)} differences"
    )
    if promised.is_live:
        click.echo(
            f"{promised.cell_count} promised cells from {promised.document_count} holds and orders "
            f"compared, {len(promised.differences)} differences"
        )
    else:
        click.echo("No server takes orders here: what is promised was not compared")
    return 1 if verified.differences or promised.differences or not is_conserved else 0


def _print(differences: Iterable[Difference | DemandDifference], source: str) -> None:
    for each in differences:
        click.echo(
            f"{each.sku} at {each.location}: {each.field} is "
            f"{each.live} live and {each.rebuilt} from {source}"
        )


def _print_conserved(conserved: Conserved | None) -> bool:
    """Print the sum of all units; tell whether it holds for every SKU."""
    if conserved is None:
        click.echo("The log's beginning is gone: what was moved was not summed")
        return True
    for each in conserved.differences:
        click.echo(
            f"{each.sku}: {each.lying} units lie somewhere and {each.moved} are accounted for"
        )
    click.echo(conserved.words())
    click.echo(f"{conserved.sku_count} SKUs summed, {len(conserved.differences)} differences")
    return not conserved.differences
