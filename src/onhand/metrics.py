"""Metrics: the registry of names, and pages of shared memory that processes count into.

Every process of a deployment counts into a page of its own under ``TABLE_DIR/onhand-<id>/metrics``;
whoever is asked for metrics sums the pages. A page outlives its process: it is folded into
``retired.json`` by the next process that looks, so a counter never falls when a process ends.

A page is 32 slots of head, then :data:`SLOT_COUNT` slots of 8 bytes, then one line of JSON for each
series, which says where its slots begin. A process that is alive holds a lock on its page.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import threading
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec

from onhand._native.metrics import Counter, Gauge, Histogram
from onhand.errors import TableUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "max"]
Values = list[float]
Series = tuple[str, tuple[str, ...]]
"""A metric's name and the values of its labels, in the order of the registry."""

PAGE_MAGIC: Final = b"OHMETR01"
SLOT_COUNT: Final = 8_192
PAGE_BYTES: Final = 256 * 1024
HEAD: Final = struct.Struct("<8sQQ")
"""Magic, slots in use, bytes of text in use."""

SLOTS_OFFSET: Final = 256
TEXT_OFFSET: Final = SLOTS_OFFSET + 8 * SLOT_COUNT
RETIRED: Final = "retired.json"

SPARE_SLOTS: Final = 64
"""At the end of a page, for series that find no room: they share these, and nobody reads them."""

READ_BOUNDS: Final = (
    5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 1.0,
)  # fmt: skip
LATENCY_BOUNDS: Final = (
    5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 7.5e-3, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 60.0, 600.0,
)  # fmt: skip

COMMIT_BOUNDS: Final = (
    1e-4, 2.5e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 7.5e-3, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
)  # fmt: skip
BATCH_BOUNDS: Final = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metric(msgspec.Struct, frozen=True):
    """One metric: its name ends in its unit; names and labels are an interface."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    merge: Merge = "sum"

    @property
    def slot_count(self) -> int:
        """Slots that one series of it takes."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


_METRICS: Final = (
    Metric("onhand_events_applied_total", "counter", "Events applied to the tables.", ("type",)),
    Metric("onhand_lines_applied_total", "counter", "Lines (one SKU of one event) applied."),
    Metric("onhand_events_duplicate_total", "counter", "Events that had been applied before."),
    Metric(
        "onhand_events_dead_total", "counter", "Events sent to dead letters.", ("type", "reason")
    ),
    Metric("onhand_events_claimed_total", "counter", "Events passed on as claims."),
    Metric("onhand_fields_unknown_total", "counter", "Fields of events that nothing here knows."),
    Metric("onhand_ingest_polls_total", "counter", "Polls of the log that returned records."),
    Metric(
        "onhand_event_visible_seconds",
        "histogram",
        "From an event's append to the log until readers see it.",
        bounds=LATENCY_BOUNDS,
    ),
    Metric("onhand_changes_published_total", "counter", "Records sent to stock.availability."),
    Metric("onhand_checkpoints_total", "counter", "Checkpoints tried.", ("outcome",)),
    Metric("onhand_checkpoint_seconds", "gauge", "Time the last checkpoint took to be on disk."),
    Metric("onhand_checkpoint_pause_seconds", "gauge", "Time apply stood still for a checkpoint."),
    Metric("onhand_checkpoint_bytes", "gauge", "Size of the last checkpoint.", ("shard",)),
    Metric(
        "onhand_checkpoint_timestamp_seconds",
        "gauge",
        "When the last checkpoint was taken, since 1970.",
        ("shard",),
        merge="max",
    ),
    Metric("onhand_read_seconds", "histogram", "Time to answer a read.", ("route",), READ_BOUNDS),
    Metric(
        "onhand_http_requests_total",
        "counter",
        "HTTP requests answered.",
        ("method", "route", "status"),
    ),
    Metric("onhand_publish_events_total", "counter", "Events posted over HTTP.", ("outcome",)),
    Metric(
        "onhand_publish_seconds",
        "histogram",
        "Time until posted events are durable in the log.",
        bounds=LATENCY_BOUNDS,
    ),
    Metric("onhand_purchases_stored_total", "counter", "Purchases and returns in stores kept."),
    Metric(
        "onhand_purchases_skipped_total",
        "counter",
        "Events that the log's retention dropped before purchases were looked for in them.",
    ),
    Metric("onhand_purchases_kept", "gauge", "Purchases and returns in stores, about."),
    Metric("onhand_purchases_lag_events", "gauge", "Events not looked through for purchases yet."),
    Metric(
        "onhand_purchases_lag_seconds",
        "gauge",
        "How long ago the append time was up to which purchases are kept.",
    ),
    Metric("onhand_stream_clients", "gauge", "Clients that follow the stream of changes."),
    Metric("onhand_stream_events_total", "counter", "Changes sent to clients of the stream."),
    Metric(
        "onhand_ledger_commit_seconds",
        "histogram",
        "Time until a batch of decisions is on disk.",
        bounds=COMMIT_BOUNDS,
    ),
    Metric(
        "onhand_ledger_commit_commands",
        "histogram",
        "Commands that share a commit.",
        bounds=BATCH_BOUNDS,
    ),
    Metric("onhand_ledger_bytes", "gauge", "What the ledger's database takes on disk."),
    Metric(
        "onhand_ledger_rows_dropped_total",
        "counter",
        "Rows of the ledger that were kept long enough; one of answers is a commit's.",
        ("table",),
    ),
    Metric(
        "onhand_reserve_seconds",
        "histogram",
        "Time until a command of the order layer is answered.",
        ("command",),
        LATENCY_BOUNDS,
    ),
    Metric(
        "onhand_promise_seconds",
        "histogram",
        "Time until it is answered how an order could be fulfilled.",
        bounds=LATENCY_BOUNDS,
    ),
    Metric(
        "onhand_order_commands_total",
        "counter",
        "Commands of the order layer: done, repeated, or the code of their refusal.",
        ("command", "outcome"),
    ),
    Metric(
        "onhand_order_writer_fenced",
        "gauge",
        "1 in a process whose place another order writer has taken.",
    ),
    Metric("onhand_reservations_open", "gauge", "Holds and orders that are open.", ("kind",)),
    Metric(
        "onhand_reservations_expired_total",
        "counter",
        "Holds and pickups whose time was over.",
        ("kind",),
    ),
    Metric("onhand_returns_open", "gauge", "Returns awaited, or whose exchange is open."),
    Metric(
        "onhand_returned_units_total",
        "counter",
        "Units that came back, by what became of them.",
        ("disposition",),
    ),
    Metric(
        "onhand_returns_expired_total", "counter", "Returns that did not come in time, or not all."
    ),
    Metric("onhand_shortfall_cells", "gauge", "Cells whose promises the shelf cannot keep."),
    Metric("onhand_shortfall_units", "gauge", "Units promised that the shelf does not hold."),
    Metric(
        "onhand_shortfall_moved_units_total", "counter", "Units of a shortfall sourced elsewhere."
    ),
    Metric(
        "onhand_shortfall_reported_units_total",
        "counter",
        "Units of a shortfall that were backordered, cancelled or left to people.",
    ),
    Metric(
        "onhand_outbox_pending",
        "gauge",
        "Committed events not in the log yet; absent after a start until they are counted.",
        ("topic",),
    ),
    Metric("onhand_handovers_in_flight", "gauge", "Movements that supply has not applied yet."),
    Metric("onhand_claims_total", "counter", "Claims of tills, by what they were.", ("outcome",)),
    Metric("onhand_recommendation_baskets_total", "counter", "Baskets learnt from."),
    Metric("onhand_recommendation_items", "gauge", "SKUs of which it is known what they go with."),
    Metric(
        "onhand_recommendation_items_forgotten_total",
        "counter",
        "SKUs forgotten because recommendation_items_max was reached.",
    ),
    Metric("onhand_recommendation_pairs", "gauge", "Pairs kept, each from both of its SKUs."),
    Metric("onhand_recommendation_fill_ratio", "gauge", "Of the SKUs that may be remembered."),
    Metric("onhand_recommendation_bytes", "gauge", "Memory of what was learnt, about."),
    Metric(
        "onhand_recommendation_lag_events", "gauge", "Records in the log not learnt from, about."
    ),
    Metric(
        "onhand_recommendation_lag_seconds",
        "gauge",
        "How long ago the append time was up to which all is learnt.",
    ),
    Metric(
        "onhand_recommendation_snapshot_timestamp_seconds",
        "gauge",
        "When recommendations were last published, since 1970.",
        merge="max",
    ),
    Metric("onhand_recommendation_snapshot_bytes", "gauge", "Size of what was last published."),
    Metric("onhand_recommendation_publish_seconds", "gauge", "Time the last publishing took."),
    Metric(
        "onhand_spans_total", "counter", "Spans of traces: sent, or lost on the way.", ("outcome",)
    ),
    Metric(
        "onhand_supply_age_seconds", "gauge", "How old the numbers are that promises are made by."
    ),
)
REGISTRY: Final[dict[str, Metric]] = {metric.name: metric for metric in _METRICS}
"""What processes count in pages. What tables know themselves is added when metrics are asked for;
see :mod:`onhand.web.exposition`."""

Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)


class _SeriesLine(msgspec.Struct, array_like=True):
    """What the text of a page holds for each series."""

    name: str
    labels: tuple[str, ...]
    slot: int


class _Retired(msgspec.Struct):
    """Sums of the pages whose processes have ended, and which those are."""

    series: list[tuple[str, tuple[str, ...], Values]] = []
    folded: list[str] = []


class Page:
    """The page of the process that made it; any thread may ask it for instruments.

    Parameters
    ----------
    directory
        Where the deployment's pages lie; made when missing.
    role
        What the process is, such as ``serve`` or ``ingest``; part of the file's name.

    Raises
    ------
    TableUnavailable
        The page cannot be made.
    """

    def __init__(self, directory: Path, role: str) -> None:
        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file, self.name = _create_page(directory, role)
        except OSError as error:
            raise TableUnavailable(
                f"The page of metrics in {directory} cannot be made: {error.strerror}",
                "Make room there, or choose another place with --table-dir",
            ) from error
        self._map = mmap.mmap(self._file, PAGE_BYTES)
        view = memoryview(self._map)
        slots = view[SLOTS_OFFSET:TEXT_OFFSET]
        self._counts = slots.cast("Q")
        self._sums = slots.cast("d")
        self._text_bytes = 0
        self._slot_count = 0
        self._made: dict[Series, Counter | Gauge | Histogram] = {}
        self._making = threading.Lock()
        self._write_head()

    def counter(self, name: str, *labels: str) -> Counter:
        """Return the counter of one series; the same object for the same labels."""
        return self._instrument(Counter, name, labels)

    def gauge(self, name: str, *labels: str) -> Gauge:
        """Return the gauge of one series; the same object for the same labels."""
        return self._instrument(Gauge, name, labels)

    def histogram(self, name: str, *labels: str) -> Histogram:
        """Return the histogram of one series; the same object for the same labels."""
        return self._instrument(Histogram, name, labels)

    def close(self) -> None:
        """Let go of the page: whoever looks next folds it into the retired sums.

        Instruments keep working, and count for nobody.
        """
        if self._file >= 0:
            # The mapping holds a duplicate of the descriptor, so closing alone frees no lock.
            fcntl.flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)
            self._file = -1

    def _instrument(self, kind: type[Instrument], name: str, labels: tuple[str, ...]) -> Instrument:
        made = self._made.get((name, labels))
        if made is None:
            # Threads may ask for a first time at once, and each takes slots and text of its own.
            with self._making:
                made = self._made.get((name, labels))
                if made is None:
                    made = self._made[name, labels] = self._make(REGISTRY[name], labels)
        if not isinstance(made, kind):
            msg = f"Condition failed: {name} is a {kind.__name__.lower()}"
            raise TypeError(msg)
        return made

    def _make(self, metric: Metric, labels: tuple[str, ...]) -> Counter | Gauge | Histogram:
        if len(labels) != len(metric.labels):
            msg = f"Condition failed: {metric.name} has the labels {metric.labels}"
            raise ValueError(msg)
        slot = self._take_slots(metric, labels)
        if metric.kind == "counter":
            return Counter(self._counts, slot)
        if metric.kind == "gauge":
            return Gauge(self._sums, slot)
        return Histogram(self._counts, self._sums, slot, metric.bounds)

    def _take_slots(self, metric: Metric, labels: tuple[str, ...]) -> int:
        line = msgspec.json.encode(_SeriesLine(metric.name, labels, self._slot_count)) + b"\n"
        text_end = TEXT_OFFSET + self._text_bytes + len(line)
        if self._slot_count + metric.slot_count > SLOT_COUNT - SPARE_SLOTS or text_end > PAGE_BYTES:
            # Labels come from fixed lists, so this is a slip of ours; what is lost is a number
            # on a chart and not the work that it counts.
            return SLOT_COUNT - SPARE_SLOTS
        slot = self._slot_count
        self._map[TEXT_OFFSET + self._text_bytes : text_end] = line
        self._slot_count += metric.slot_count
        self._text_bytes += len(line)
        self._write_head()
        return slot

    def _write_head(self) -> None:
        HEAD.pack_into(self._map, 0, PAGE_MAGIC, self._slot_count, self._text_bytes)


def metrics_directory(table_dir: Path, cluster_id: str) -> Path:
    """Name the directory of a deployment's pages."""
    return table_dir / f"onhand-{cluster_id}" / "metrics"


def collect(directory: Path) -> dict[Series, Values]:
    """Sum every page, of processes alive and gone.

    Takes about 0.1 ms a page. Pages of processes that have ended are folded first.

    Returns
    -------
    dict
        The slots of each series: one value, or a histogram's counts by bucket and then its sum.
    """
    totals: dict[Series, Values] = {}
    with _lock(directory) as is_held:
        if not is_held:
            return totals
        _fold(directory)
        retired = _read_retired(directory)
        for name, labels, values in retired.series:
            _merge(totals, (name, labels), values)
        for path in sorted(directory.glob("*.page")):
            if path.name not in retired.folded:
                for series, values in _read_page(path):
                    _merge(totals, series, values)
    return totals


def _fold(directory: Path) -> None:
    gone = [path for path in sorted(directory.glob("*.page")) if not _is_alive(path)]
    if not gone:
        return
    retired = _read_retired(directory)
    totals: dict[Series, Values] = {(name, labels): v for name, labels, v in retired.series}
    for path in gone:
        if path.name not in retired.folded:
            for series, values in _read_page(path):
                # What a process that has ended held at the end says nothing about now.
                if REGISTRY[series[0]].kind != "gauge":
                    _merge(totals, series, values)
    folded = _Retired(
        series=[(name, labels, values) for (name, labels), values in totals.items()],
        folded=[path.name for path in gone],
    )
    # Sums and the list of what is in them are replaced in one step; only then do pages go.
    temporary = directory / f"{RETIRED}.new"
    temporary.write_bytes(msgspec.json.encode(folded))
    temporary.replace(directory / RETIRED)
    for path in gone:
        path.unlink(missing_ok=True)


def _merge(totals: dict[Series, Values], series: Series, values: Sequence[float]) -> None:
    known = totals.get(series)
    if known is None:
        totals[series] = list(values)
    elif REGISTRY[series[0]].merge == "max":
        totals[series] = [max(pair) for pair in zip(known, values, strict=True)]
    else:
        totals[series] = [a + b for a, b in zip(known, values, strict=True)]


def _read_page(path: Path) -> Iterator[tuple[Series, Values]]:
    data = path.read_bytes()
    if len(data) < PAGE_BYTES or data[: len(PAGE_MAGIC)] != PAGE_MAGIC:
        return
    _, _, text_bytes = HEAD.unpack_from(data)
    counts = memoryview(data)[SLOTS_OFFSET:TEXT_OFFSET].cast("Q")
    sums = memoryview(data)[SLOTS_OFFSET:TEXT_OFFSET].cast("d")
    for text in data[TEXT_OFFSET : TEXT_OFFSET + text_bytes].splitlines():
        line = msgspec.json.decode(text, type=_SeriesLine)
        metric = REGISTRY.get(line.name)
        if metric is None:
            continue
        end = line.slot + metric.slot_count
        values: Values = [float(count) for count in counts[line.slot : end]]
        if metric.kind != "counter":
            values[-1] = sums[end - 1]
        yield (line.name, line.labels), values


def _read_retired(directory: Path) -> _Retired:
    try:
        retired = msgspec.json.decode((directory / RETIRED).read_bytes(), type=_Retired)
    except (FileNotFoundError, msgspec.DecodeError):
        return _Retired()
    retired.series = [
        (name, labels, values)
        for name, labels, values in retired.series
        if name in REGISTRY and len(values) == REGISTRY[name].slot_count
    ]
    return retired


def _is_alive(path: Path) -> bool:
    # A lock and no process id: ids are reused, and differ between containers that share a mount.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _create_page(directory: Path, role: str) -> tuple[int, str]:
    with _lock(directory):
        for attempt in range(1_000):
            name = f"{role}-{os.getpid()}{f'-{attempt}' if attempt else ''}.page"
            with contextlib.suppress(FileExistsError):
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                descriptor = os.open(directory / name, flags, 0o644)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                os.posix_fallocate(descriptor, 0, PAGE_BYTES)
                return descriptor, name
    msg = f"Invariant: a process makes few pages of the role {role}"
    raise RuntimeError(msg)


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[bool]:
    """Hold the directory for a moment; False when it is not there."""
    try:
        descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield True
    finally:
        os.close(descriptor)
