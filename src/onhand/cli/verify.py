"""``onhand verify``: rebuild aside, compare with the live tables, list every difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onhand.cli.options import settings_options

if TYPE_CHECKING:
    from onhand.settings import Settings


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
    """Rebuild the tables from the log and compare them with the live ones.

    Runs beside a live server. Exit code 0: no difference; 1: differences, each listed.
    """
    from onhand.cli.progress import progress  # noqa: PLC0415 - keeps `onhand --help` quick
    from onhand.ingest.verify import verify_tables  # noqa: PLC0415

    with progress("Replaying the log") as advance:
        verified = verify_tables(settings, advance)
    for difference in verified.differences:
        click.echo(
            f"{difference.sku} at {difference.location}: {difference.field} is "
            f"{difference.live} live and {difference.rebuilt} from the log"
        )
    for name, offset in sorted(verified.offsets.items()):
        click.echo(f"{name} verified up to offset {offset}")
    click.echo(
        f"{verified.cell_count} cells from {verified.record_count} records compared, "
        f"{len(verified.differences)} differences"
    )
    return 1 if verified.differences else 0
