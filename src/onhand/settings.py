"""Every setting of onhand: one frozen struct, read from flags, environment, a file, defaults.

A flag wins over ``ONHAND_<NAME>`` in the environment, which wins over the TOML file (``--config``
or ``ONHAND_CONFIG``), which wins over the default. All that can be judged without opening data is
judged here, so that a wrong setting costs a message and never a half-started server.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from onhand.errors import SettingsError

CLOCK_AHEAD: Final = timedelta(seconds=60)
"""How far an event's ``occurred_at`` may lie after its append time; fixed by the contract."""

MASK: Final = "***"
"""What stands in place of a secret wherever settings are shown."""

_BROKERS = re.compile(r"[^\s,:/]+:\d{1,5}(,[^\s,:/]+:\d{1,5})*|\[[0-9a-fA-F:]+\]:\d{1,5}")
_DATABASE_SCHEMES = ("postgresql://", "postgres://", "postgresql+psycopg://")
# Up to the last @: a password may hold one that its author forgot to encode.
_URL_PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):\S*@")
_QUERY_PASSWORD = re.compile(r"(?<=password=)[^&\s]*")
_URL_USER = re.compile(r"(?<=://)\S*@")


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a deployment can be told.

    ``Meta.extra`` of a field may hold ``parse`` (``duration`` or ``size``: how text is read),
    ``flags`` (more command-line names), ``secret`` (never shown) and ``no_flag``.
    """

    data: Annotated[
        Path,
        Meta(description="Directory of the embedded log, the ledger and the checkpoints."),
    ] = Path("onhand-data")
    host: Annotated[
        str,
        Meta(min_length=1, description="Address to listen on. The default is this machine only."),
    ] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65_535, description="TCP port to listen on; 0 takes any free one.")
    ] = 8000
    no_auth: Annotated[
        bool,
        Meta(description="Ask for no tokens. Only with a loopback host."),
    ] = False
    kafka: Annotated[
        str | None,
        Meta(
            description="Brokers of the event log as HOST:PORT, several with commas. "
            "Left out: the log embedded in the data directory.",
        ),
    ] = None
    kafka_options: Annotated[
        dict[str, str | int | float | bool],
        Meta(
            description="Options handed to librdkafka, such as security.protocol or sasl.password.",
            extra={"secret": True, "no_flag": True},
        ),
    ] = {}
    topic_prefix: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9._-]{0,100}$",
            description="Put before every topic's name.",
        ),
    ] = ""
    kafka_partition_count: Annotated[
        int,
        Meta(ge=1, le=1024, description="Partitions of a topic that onhand has to create."),
    ] = 4
    database: Annotated[
        str | None,
        Meta(
            description="PostgreSQL of the ledger as postgresql://USER:PASSWORD@HOST:PORT/NAME. "
            "Left out: SQLite in the data directory.",
            extra={"secret": True},
        ),
    ] = None
    table_dir: Annotated[
        Path,
        Meta(description="Where the shared tables live; memory-backed for speed."),
    ] = Path("/dev/shm")  # noqa: S108 - shared memory by design; the files' names carry the cluster
    table_bytes_max: Annotated[
        int,
        Meta(
            ge=1 << 20,
            description="The most that one table may grow to; space is taken as it fills.",
            extra={"parse": "size"},
        ),
    ] = 16 << 30
    shard_count: Annotated[
        int, Meta(ge=1, le=256, description="Tables that SKUs are divided over, one writer each.")
    ] = 1
    worker_count: Annotated[
        int,
        Meta(ge=1, le=64, description="Ingest worker threads.", extra={"flags": ["-w"]}),
    ] = 1
    late_window: Annotated[
        timedelta | None,
        Meta(
            description="How long after it occurred an event is still accepted, and for how long "
            "ids are remembered. `off` accepts any age, for loading history.",
            extra={"parse": "duration"},
        ),
    ] = timedelta(hours=72)
    count_window: Annotated[
        timedelta,
        Meta(
            description="How long after it occurred a count is still accepted, and for how long "
            "movements are kept to place counts among them.",
            extra={"parse": "duration"},
        ),
    ] = timedelta(hours=24)
    ids_max: Annotated[
        int,
        Meta(
            ge=1_000,
            le=1 << 30,
            description="Event ids remembered. When full, events older than what is remembered "
            "are refused rather than guessed at.",
        ),
    ] = 8_000_000
    history_max: Annotated[
        int,
        Meta(
            ge=1_024,
            le=1 << 32,
            description="Movements kept for counts and explanations; a power of two.",
        ),
    ] = 2_097_152
    purchase_orders_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1 << 31,
            description="Lines of purchase orders (order, SKU, location) remembered, open or not. "
            "When full, ingest stops rather than forget what has been received.",
        ),
    ] = 4_000_000
    checkpoint_interval_s: Annotated[
        float, Meta(ge=0.1, le=86_400, description="Seconds between checkpoints of a table.")
    ] = 30
    checkpoint_archive_days: Annotated[
        int,
        Meta(
            ge=0,
            le=3_650,
            description="Days for which one checkpoint a day is archived; 0 archives none.",
        ),
    ] = 30
    log_retention_hours: Annotated[
        int,
        Meta(ge=1, le=87_600, description="Hours for which the log keeps events."),
    ] = 168
    publish_interval_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=60_000,
            description="Changes of available are coalesced for this long before they are "
            "published on stock.availability.",
        ),
    ] = 50
    max_supply_age_ms: Annotated[
        int,
        Meta(
            ge=200,
            le=3_600_000,
            description="How far behind the stock tables may be before promising stops.",
        ),
    ] = 5_000
    low_stock: Annotated[
        int,
        Meta(
            ge=0,
            le=2_147_483_647,
            description="Available units at or below which the band is `low` instead of `in`.",
        ),
    ] = 5
    pickup_ready_minutes: Annotated[
        int,
        Meta(
            ge=0,
            le=10_080,
            description="Opening time that a store needs to make a pickup ready.",
        ),
    ] = 120
    transit_km_per_day: Annotated[
        float,
        Meta(ge=1, le=40_000, description="How far a package travels in a day, as the crow flies."),
    ] = 800.0
    shortfall_policy: Annotated[
        Literal["source_again", "report"],
        Meta(
            description="What becomes of promises that the shelf can no longer keep: they are "
            "sourced elsewhere, or shown as `shortfall` for people to decide."
        ),
    ] = "source_again"
    resource_max: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="How often the units of one allocation are sourced again before they are "
            "backordered or cancelled.",
        ),
    ] = 3
    open_reservations_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1 << 30,
            description="Holds and orders that may be open. When full, new ones are refused.",
        ),
    ] = 5_000_000
    orders_keep_days: Annotated[
        int,
        Meta(
            ge=30,
            le=3_650,
            description="Days for which closed orders and returns are kept after their last "
            "change; make it longer than anything may take to be returned.",
        ),
    ] = 400
    purchases_keep_days: Annotated[
        int,
        Meta(
            ge=1,
            le=3_650,
            description="Days for which purchases in stores are kept after they entered the log.",
        ),
    ] = 400
    rate_limit_per_s: Annotated[
        float,
        Meta(
            ge=0,
            le=1e9,
            description="Requests about orders that one token may make a second, with bursts of "
            "as many; 0 sets no limit.",
        ),
    ] = 0.0
    recommendation_items_max: Annotated[
        int,
        Meta(
            ge=1_000,
            le=1 << 22,
            description="SKUs of which it is remembered what they are bought with; of more, those "
            "bought least are forgotten. Each takes 1.3 KiB, and 0.6 KiB of shared memory.",
        ),
    ] = 200_000
    recommendation_pairs_max: Annotated[
        int,
        Meta(
            ge=8,
            le=1_024,
            description="Others remembered of each SKU; of more, those bought with it least.",
        ),
    ] = 128
    recommendation_half_life: Annotated[
        timedelta | None,
        Meta(
            description="Time in which what was bought together counts half; `off` fades nothing.",
            extra={"parse": "duration"},
        ),
    ] = timedelta(days=90)
    recommendation_basket_window: Annotated[
        timedelta,
        Meta(
            description="Sales with one `basket_id` at one location are one basket within this "
            "time.",
            extra={"parse": "duration"},
        ),
    ] = timedelta(minutes=30)
    recommendation_baskets_max: Annotated[
        int,
        Meta(
            ge=1_000,
            le=1 << 24,
            description="Baskets that may still grow; sales told twice are known by them too.",
        ),
    ] = 100_000
    poll_record_count_max: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Most records taken from the log in one poll.")
    ] = 1_000
    body_bytes_max: Annotated[
        int,
        Meta(
            ge=1_024,
            le=1 << 30,
            description="Largest body of a request; anything over it is answered 413.",
            extra={"parse": "size"},
        ),
    ] = 1 << 20
    storefront_worker_count: Annotated[
        int,
        Meta(ge=0, le=256, description="Processes that serve reads only, beside the main one."),
    ] = 0
    otlp_endpoint: Annotated[
        str | None,
        Meta(
            description="Where traces are sent by OTLP over HTTP, as http://HOST:PORT. "
            "Left out: nothing is traced.",
            extra={"secret": True},
        ),
    ] = None
    trace_sample_ratio: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Of the requests that come without a `traceparent`, how many are traced; "
            "one that comes with a sampled one is traced always.",
        ),
    ] = 0.01
    log_format: Annotated[
        Literal["auto", "json", "text"],
        Meta(description="`auto` is text on a terminal and JSON lines elsewhere."),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least severe message that is logged."),
    ] = "info"

    def __post_init__(self) -> None:
        """Check what fields owe to each other.

        Raises
        ------
        SettingsError
            When two settings contradict each other or one breaks a rule its type cannot state.
        """
        for broken, what, advice in _rules(self):
            if broken:
                raise SettingsError(what, advice)

    @property
    def late_us(self) -> int:
        """``late_window`` in microseconds, -1 when off."""
        return -1 if self.late_window is None else self.late_window // timedelta(microseconds=1)

    @property
    def count_us(self) -> int:
        """``count_window`` in microseconds."""
        return self.count_window // timedelta(microseconds=1)

    @property
    def ahead_us(self) -> int:
        """:data:`CLOCK_AHEAD` in microseconds."""
        return CLOCK_AHEAD // timedelta(microseconds=1)

    @property
    def ledger_path(self) -> Path:
        """Where the embedded ledger lies when no database is named."""
        return self.data / "ledger.sqlite3"

    @property
    def customers_path(self) -> Path:
        """Where purchases and wish lists lie when no database is named."""
        return self.data / "customers.sqlite3"

    def masked(self) -> dict[str, Any]:
        """Every setting by name with passwords replaced, fit for a log line."""
        shown: dict[str, Any] = {name: getattr(self, name) for name in self.__struct_fields__}
        shown["kafka_options"] = {
            key: MASK if _is_secret_option(key) else value
            for key, value in self.kafka_options.items()
        }
        if self.database is not None:
            shown["database"] = mask_url(self.database)
        if self.otlp_endpoint is not None:
            shown["otlp_endpoint"] = _URL_USER.sub(f"{MASK}@", self.otlp_endpoint)
        return shown

    def __repr__(self) -> str:
        """Show the settings without their secrets."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self.masked().items())
        return f"Settings({shown})"


def mask_url(url: str) -> str:
    """Replace the password in a URL, or in every URL of a text."""
    return _QUERY_PASSWORD.sub(MASK, _URL_PASSWORD.sub(rf"\1:{MASK}@", url))


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a server bound to ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_base_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    is_plain = text.isascii() and text.isprintable() and not {" ", "?", "#"} & set(text)
    return parts.scheme in {"http", "https"} and is_whole and is_plain


def _is_secret_option(name: str) -> bool:
    return any(word in name for word in ("password", "secret", "key", "token", "jaas"))


def _rules(settings: Settings) -> list[tuple[bool, str, str]]:
    late, count = settings.late_window, settings.count_window
    return [
        (
            settings.no_auth and not is_loopback(settings.host),
            f"no_auth is set while the host is {settings.host}, which others can reach",
            "Bind to 127.0.0.1, or leave no_auth out and create tokens with `onhand token create`",
        ),
        (
            settings.kafka is not None and not _BROKERS.fullmatch(settings.kafka),
            f"kafka is {settings.kafka!r}",
            "Give brokers as HOST:PORT, several separated by commas",
        ),
        (
            bool(settings.kafka_options) and settings.kafka is None,
            "kafka_options is set but kafka is not",
            "Name the brokers with --kafka HOST:PORT, or leave kafka_options out",
        ),
        (
            settings.database is not None and not settings.database.startswith(_DATABASE_SCHEMES),
            "database is no PostgreSQL address",
            "Write it as postgresql://USER:PASSWORD@HOST:PORT/NAME, or leave it out to use SQLite",
        ),
        (
            settings.otlp_endpoint is not None and not _is_base_url(settings.otlp_endpoint),
            "otlp_endpoint is no http or https URL",
            "Write it as http://HOST:PORT or https://USER:PASSWORD@HOST, or leave it out",
        ),
        (
            settings.history_max & (settings.history_max - 1) != 0,
            f"history_max is {settings.history_max}, which is no power of two",
            f"Use {1 << (settings.history_max - 1).bit_length()}",
        ),
        (
            late is not None and late <= timedelta(0),
            "late_window is zero",
            "Give a duration such as 72h, or off to accept events of any age",
        ),
        (
            count <= timedelta(0),
            "count_window is zero",
            "Give a duration such as 24h",
        ),
        (
            settings.recommendation_half_life is not None
            and settings.recommendation_half_life < timedelta(hours=1),
            "recommendation_half_life is under an hour",
            "Give a duration such as 2160h, or off to let nothing fade",
        ),
        (
            settings.recommendation_basket_window <= timedelta(0),
            "recommendation_basket_window is zero",
            "Give a duration such as 30m",
        ),
        (
            settings.late_window is not None
            and timedelta(days=settings.orders_keep_days) < settings.late_window,
            "orders_keep_days is shorter than late_window",
            "Keep orders for longer than a till's word about them may be late",
        ),
        (
            settings.orders_keep_days < settings.purchases_keep_days,
            "orders_keep_days is shorter than purchases_keep_days",
            "Keep orders for at least as long: with them is kept what of a purchase came back",
        ),
        (
            0 < settings.checkpoint_archive_days * 24 < settings.log_retention_hours,
            "checkpoint_archive_days is shorter than log_retention_hours",
            "Archive checkpoints for at least as long as the log keeps events",
        ),
    ]
