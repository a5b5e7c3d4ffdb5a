"""``make soak``: put a deployment under a mixed load, check it, and write docs/soak.md."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
import msgspec

from benchmarks.soak.report import write
from benchmarks.soak.run import Plan, soak
from benchmarks.soak.world import World

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "build" / "soak.json"
"""All that was sampled, for whoever wants to look closer."""


@click.command()
@click.option("--minutes", default=60.0, help="How long the load goes on.")
@click.option("--events", default=5_000.0, help="Stock events a second.")
@click.option("--reads", default=2_000.0, help="Reads a second.")
@click.option("--orders", default=200.0, help="Orders begun a second.")
@click.option("--stores", default=150)
@click.option("--skus", default=20_000)
@click.option("--kafka", help="HOST:PORT; left out: the embedded log.")
@click.option("--topic-prefix", help="Of the topics on Kafka.")
@click.option("--database", help="URL of PostgreSQL; left out: SQLite.")
@click.option("--setting", "chosen", multiple=True, help="NAME=VALUE, for `onhand up`.")
@click.option("--output", type=click.Path(path_type=Path), default=ROOT / "docs")
def main(
    output: Path, minutes: float, stores: int, skus: int, chosen: tuple[str, ...], **options
) -> None:
    """Soak a deployment; exit code 1 when anything is wrong, grew or slowed down."""
    rates = {name: options.pop(name) for name in ("events", "reads", "orders")}
    plan = Plan(
        seconds=60 * minutes,
        flags={name: value for name, value in options.items() if value is not None}
        | dict(each.split("=", 1) for each in chosen),
        world=World(store_count=stores, sku_count=skus),
        **rates,
    )
    with tempfile.TemporaryDirectory(prefix="onhand-soak-") as scratch:
        result = soak(plan, Path(scratch))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_bytes(msgspec.json.encode(result))
    write(result, output)
    for what in result.findings():
        click.echo(f"WRONG: {what}")
    for sample in result.samples_of_unexpected:
        click.echo(f"  {sample}")
    for judged in result.judged:
        click.echo(f"{'ok' if judged.is_met else 'MISSED':6} {judged.what}: {judged.measured}")
    failed = bool(result.findings()) or not all(each.is_met for each in result.judged)
    sys.exit(failed)


if __name__ == "__main__":
    main()
