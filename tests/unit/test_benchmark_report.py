"""What benchmarks state is judged, kept and written down as it was measured."""

import msgspec
import pytest

from benchmarks import report
from benchmarks.curves import CURVES, Point, state_curve
from benchmarks.figures import FIGURES, Stated, describe, ratio_of, state

MACHINE_INFO = {
    "node": "someone-s-machine",
    "machine": "x86_64",
    "system": "Linux",
    "release": "6.1.0-13-amd64",
    "python_implementation": "CPython",
    "python_version": "3.11.7",
    "cpu": {"brand_raw": "A CPU"},
}


class Benchmark:
    """As much of the fixture of pytest-benchmark as stating a figure uses."""

    def __init__(self, *, disabled=False):
        self.disabled = disabled
        self.extra_info = {}


def write_results(path, *figures, curves=(), name="bench_it[large]", params=None, cpu="A CPU"):
    """Write what pytest-benchmark would, of one benchmark."""
    benchmark = Benchmark()
    for figure in figures:
        state(benchmark, **figure)
    for curve in curves:
        state_curve(benchmark, **curve)
    results = {
        "machine_info": MACHINE_INFO | {"cpu": {"brand_raw": cpu}},
        "datetime": "2026-03-29T12:30:00+00:00",
        "benchmarks": [{"name": name, "params": params, "extra_info": benchmark.extra_info}],
    }
    path.write_bytes(msgspec.json.encode(results))
    return str(path)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "benchmarks").mkdir()
    return tmp_path


def row(root, key):
    """Return the cells of a figure's row in the page."""
    page = (root / "docs/benchmarks.md").read_text("utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith(f"| `{key}` |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(
    ("key", "value", "limit", "met"),
    [
        ("apply_columns", 21e6, 42e6, True),
        ("apply_columns", 21e6, 60e6, False),
        ("apply_columns", 19e6, 20e6, False),
        ("apply_columns", 21e6, None, None),
        ("cell_bytes", 64, None, True),
        ("cell_bytes", 64.1, None, False),
        ("ingest_kafka", 1.0, 2.0, True),
        ("decode", 1.0, None, None),
    ],
)
def test_a_figure_is_met_when_every_bound_is(key, value, limit, met):
    """Bounds from below, from above and on the ratio must all hold; none says nothing."""
    stated = Stated(key=key, value=value, limit=limit)
    assert FIGURES[key].is_met(value, ratio_of(stated)) is met


def test_a_ratio_is_the_share_of_the_limit_for_rates_and_for_times():
    """Half the rate and twice the time are both half of the limit."""
    assert ratio_of(Stated(key="decode", value=1e6, limit=2e6)) == 0.5
    assert ratio_of(Stated(key="point_read_hot", value=0.4, limit=0.2)) == 0.5


def test_a_figure_in_words_has_value_ratio_and_verdict():
    """What is printed suffices without the page."""
    stated = Stated(key="apply_columns", value=21e6, limit=60e6, limit_name="a plain C loop")
    assert describe(stated) == (
        "apply_columns: 21 million movements/s, 0.35 of a plain C loop (60 million movements/s), "
        "target at least 20 million movements/s and at least 0.4 of its limit: NOT met"
    )


def test_nothing_is_stated_when_timing_is_off(capsys):
    """A benchmark that runs once as a test leaves no figure."""
    benchmark = Benchmark(disabled=True)
    state(benchmark, "decode", 1.0)
    assert not benchmark.extra_info
    assert not capsys.readouterr().out


def test_an_unknown_figure_is_refused_even_when_timing_is_off():
    """A key that is misspelt fails in the tests, not in a long run."""
    with pytest.raises(KeyError):
        state(Benchmark(disabled=True), "aply", 1.0)


def test_the_page_shows_what_was_measured_and_what_was_not(root, tmp_path):
    """Each figure has a row, with command and limit when it was measured."""
    results = write_results(
        tmp_path / "r.json",
        {"key": "apply_columns", "value": 21e6, "limit": 42e6, "limit_name": "a loop"},
        name="bench_apply_columns[large]",
    )
    report.main(results, root)
    cells = row(root, "apply_columns")
    assert cells[3:6] == ["21 million movements/s", "a loop: 42 million movements/s", "0.50"]
    assert cells[6:8] == ["met", '`make bench ARGS="-k bench_apply_columns"`']
    assert row(root, "cell_bytes")[3] == "not measured yet"
    assert (root / "docs/pictures/targets.svg").exists()
    page = (root / "docs/benchmarks.md").read_text("utf-8")
    assert "A CPU" in page
    assert "someone-s-machine" not in page


def test_percentiles_are_drawn_and_their_maximum_with_none(root, tmp_path):
    """A spread may name its maximum, which has a place in the row and none in the picture."""
    spread = {"key": "freshness_kafka", "value": 9.0, "percentiles": {"p50": 2.0, "max": 9.0}}
    report.main(write_results(tmp_path / "r.json", spread), root)
    assert row(root, "freshness_kafka")[3] == "9 ms (p50 2 ms, max 9 ms)"
    assert (root / "docs/pictures/latencies.svg").exists()


def test_peers_have_a_table_and_a_picture_of_their_own(root, tmp_path):
    """Beside each peer stands how many times its rate was reached, and what each oversold."""
    held = {"key": "http_hold_redis", "value": 6e3, "limit": 5e3, "limit_name": "Redis 7"}
    fed = {"key": "ingest_quix", "value": 8e5, "limit": 4e4, "limit_name": "Quix Streams 3"}
    counts = {"oversold": 0, "oversold_by_limit": 1_200}
    report.main(write_results(tmp_path / "r.json", held | counts, fed), root)
    page = (root / "docs/benchmarks.md").read_text("utf-8")
    rows = {line.rsplit("`")[-2]: line.strip("| ").split(" | ") for line in _beside(page)}
    assert rows["http_hold_redis"][1:8] == [
        *("Redis 7", "6,000 holds/s", "5,000 holds/s", "1.2", "at least 1.5", "**missed**"),
        "0 and 1,200",
    ]
    assert rows["ingest_quix"][4:8] == ["20", "at least 10", "met", ""]
    assert page.count("![peers](pictures/peers.svg)") == 1
    assert (root / "docs/pictures/peers.svg").exists()


def _beside(page):
    """List the rows of the table of peers."""
    section = page.split("## Beside what people would pick instead")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.endswith("` |")]


def test_the_page_is_written_anew_without_a_run(root, tmp_path):
    """What was measured last suffices."""
    spread = {"key": "freshness_kafka", "value": 9.0, "percentiles": {"p50": 2.0, "max": 9.0}}
    report.main(write_results(tmp_path / "r.json", spread), root)
    before = {path: path.read_bytes() for path in (root / "docs").glob("benchmarks.*")}
    (root / "docs/benchmarks.md").unlink()
    report.main(root=root)
    assert {path: path.read_bytes() for path in (root / "docs").glob("benchmarks.*")} == before


def test_a_run_of_some_benchmarks_leaves_the_other_figures(root, tmp_path):
    """What a run did not measure stays as it was measured last."""
    report.main(write_results(tmp_path / "1.json", {"key": "cell_bytes", "value": 61}), root)
    report.main(write_results(tmp_path / "2.json", {"key": "batch_read", "value": 6e6}), root)
    assert row(root, "cell_bytes")[3] == "61 bytes"
    assert row(root, "batch_read")[3] == "6 million cells/s"


def test_a_smaller_size_does_not_replace_a_larger(root, tmp_path):
    """The figures are of the largest size, in one run and from run to run."""
    for cells, value in ((1_000, 60), (1_000_000, 61), (10_000, 62)):
        results = write_results(
            tmp_path / "r.json", {"key": "cell_bytes", "value": value}, params={"cells": cells}
        )
        report.main(results, root)
    assert row(root, "cell_bytes")[3] == "61 bytes"


def test_figures_of_two_machines_are_told_apart(root, tmp_path):
    """When some were measured elsewhere, every row says where."""
    report.main(write_results(tmp_path / "1.json", {"key": "cell_bytes", "value": 61}), root)
    results = write_results(tmp_path / "2.json", {"key": "batch_read", "value": 6e6}, cpu="Other")
    report.main(results, root)
    assert {row(root, "cell_bytes")[-1], row(root, "batch_read")[-1]} == {"A", "B"}


def test_the_same_results_make_the_same_files(root, tmp_path):
    """Nothing changes in the tree when nothing was measured anew."""
    spread = {"key": "freshness_kafka", "value": 9.0, "percentiles": {"p50": 2.0, "p99": 9.0}}
    results = write_results(tmp_path / "r.json", spread)
    report.main(results, root)
    first = {path: path.read_bytes() for path in root.rglob("docs/**/*") if path.is_file()}
    report.main(results, root)
    assert len(first) == 4
    assert all(path.read_bytes() == content for path, content in first.items())


@pytest.mark.parametrize(
    ("params", "size"),
    [
        (None, 1),
        ({"count": 100}, 100),
        ({"hot": True, "count": 100}, 100),
        ({"load": [500, 0.5]}, 250),
        ({"size": {"skus": 10, "locations": 5}}, 50),
        ({"size": "small"}, 0),
        ({"size": "large"}, 1),
    ],
)
def test_the_size_of_a_benchmark_is_the_product_of_its_numbers(params, size):
    """Switches and names count as 1, `small` as nothing."""
    assert report.size_of(params) == size


# -- curves ----------------------------------------------------------------------------------------


def latencies(x, p50, **own):
    """Make a point of a curve of latencies, whose tail is twice and four times its median."""
    values = {"p99.9": 4 * p50, "p50": p50, "p99": 2 * p50}
    return Point(x=x, values=values, **own)


def applied(*rates):
    """Make a curve of applying, from 100,000 cells on."""
    points = [
        Point(x=10 ** (5 + at), values={"onhand": rate, "a plain C loop": 2 * rate})
        for at, rate in enumerate(rates)
    ]
    return {"key": "curve_apply", "points": points}


def curve_section(root, key):
    """Return what the page says of a curve: its words, and the cells of its table."""
    page = (root / "docs/benchmarks.md").read_text("utf-8")
    (section,) = [part for part in page.split("\n### ") if f"\n`{key}`: " in part]
    lines = section.partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in x[1:-1].split("|")] for x in lines if x.startswith("|")]
    return [line for line in lines if line and not line.startswith("|")], cells


def test_a_curve_has_a_table_and_a_picture(root, tmp_path):
    """A row a point, columns in the order of the curve and with its units, and how it was run."""
    curve = {"key": "curve_http_read", "points": [latencies(100, 0.5), latencies(2_000, 8)]}
    results = write_results(
        tmp_path / "r.json",
        curves=[curve | {"note": "Closed loop: 2,200 requests/s"}],
        name="bench_curve_http_read[large]",
    )
    report.main(results, root)
    (what, origin, picture), cells = curve_section(root, "curve_http_read")
    command = 'make bench ARGS="-k bench_curve_http_read"'
    assert what == CURVES["curve_http_read"].what
    assert origin == (f"`curve_http_read`: `{command}`, 2026-03-29. Closed loop: 2,200 requests/s.")
    assert picture == "![curve_http_read](pictures/curve_http_read.svg)"
    assert cells == [
        ["offered load, requests/s", "p50, ms", "p99, ms", "p99.9, ms"],
        ["---"] * 4,
        ["100", "0.5", "1", "2"],
        ["2,000", "8", "16", "32"],
    ]
    assert (root / "docs/pictures/curve_http_read.svg").exists()


def test_servers_on_the_same_axes_are_told_apart(root, tmp_path):
    """Each row says whose it is and what has to be known of it, and the picture names both."""
    points = [
        latencies(700, 1, of="onhand"),
        latencies(500, 2, of="a peer"),
        latencies(900, 4, of="a peer", note="91% were answered by the end"),
    ]
    curve = {"key": "curve_http_hold", "points": points}
    report.main(write_results(tmp_path / "r.json", curves=[curve]), root)
    _, cells = curve_section(root, "curve_http_hold")
    assert [(each[0], each[1], each[-1]) for each in cells[2:]] == [
        ("onhand", "700", ""),
        ("a peer", "500", ""),
        ("a peer", "900", "91% were answered by the end"),
    ]
    picture = (root / "docs/pictures/curve_http_hold.svg").read_text("utf-8")
    assert all(label in picture for label in ("onhand, p50", "a peer, p99.9"))


def test_a_curve_that_was_never_measured_says_so(root):
    """The page has a place for each curve, and no picture of what is not there."""
    report.main(root=root)
    for key in CURVES:
        words, cells = curve_section(root, key)
        assert words[1] == f"`{key}`: not measured yet."
        assert not cells
    assert not list((root / "docs/pictures").glob("curve_*"))


def test_curves_are_kept_beside_figures(root, tmp_path):
    """One file holds both; a run of either leaves the other, and reading back changes nothing."""
    report.main(write_results(tmp_path / "1.json", curves=[applied(3e7, 2e7)]), root)
    report.main(write_results(tmp_path / "2.json", {"key": "cell_bytes", "value": 61}), root)
    written = {path: path.read_bytes() for path in root.rglob("docs/**/*") if path.is_file()}
    assert curve_section(root, "curve_apply")[1][2:] == [
        ["100,000", "30 million", "60 million"],
        ["1 million", "20 million", "40 million"],
    ]
    assert row(root, "cell_bytes")[3] == "61 bytes"
    report.main(root=root)
    assert all(path.read_bytes() == content for path, content in written.items())


def test_a_stored_curve_is_points_with_units(root, tmp_path):
    """What is kept can be read without this program."""
    report.main(write_results(tmp_path / "r.json", curves=[applied(3e7)]), root)
    stored = msgspec.json.decode((root / "docs/benchmarks.json").read_bytes())["curve_apply"]
    assert stored["stated"] == {
        "key": "curve_apply",
        "note": "",
        "points": [{"x": 1e5, "values": {"onhand": 3e7, "a plain C loop": 6e7}}],
        "unit": "movements/s",
        "x_unit": "cells",
    }


def test_a_curve_of_a_smaller_size_does_not_replace_a_larger(root, tmp_path):
    """As with figures, in one run and from run to run."""
    for sizes, rate in (((100,), 1e7), ((100, 1_000), 2e7), ((100,), 3e7)):
        results = write_results(
            tmp_path / "r.json", curves=[applied(rate)], params={"sizes": list(sizes)}
        )
        report.main(results, root)
    assert curve_section(root, "curve_apply")[1][2] == ["100,000", "20 million", "40 million"]


def test_a_stored_curve_of_other_lines_is_dropped(root, tmp_path):
    """What a curve was once is not shown under the heads that it has now."""
    report.main(write_results(tmp_path / "r.json", curves=[applied(3e7)]), root)
    path = root / "docs/benchmarks.json"
    path.write_text(path.read_text("utf-8").replace("a plain C loop", "a loop of old"), "utf-8")
    report.main(root=root)
    assert curve_section(root, "curve_apply")[0][1] == "`curve_apply`: not measured yet."


def test_curves_of_two_machines_are_told_apart(root, tmp_path):
    """When a figure was measured elsewhere, the curve says where it was."""
    report.main(write_results(tmp_path / "1.json", curves=[applied(3e7)]), root)
    results = write_results(tmp_path / "2.json", {"key": "cell_bytes", "value": 61}, cpu="Other")
    report.main(results, root)
    machine = curve_section(root, "curve_apply")[0][1].rpartition("machine ")[2].rstrip(".")
    assert {row(root, "cell_bytes")[-1], machine} == {"A", "B"}


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([], "has points"),
        ([Point(x=1, values={"p50": 1.0})], "has a value for each"),
        ([latencies(2, 1), latencies(1, 1)], "x ascends"),
        ([latencies(1, 1), latencies(1, 1)], "x ascends"),
    ],
)
def test_points_that_make_no_curve_are_refused_even_when_timing_is_off(points, why):
    """A benchmark that states rubbish fails in the tests, not in a long run."""
    with pytest.raises(ValueError, match=why):
        state_curve(Benchmark(disabled=True), "curve_http_read", points)


def test_no_curve_is_stated_when_timing_is_off(capsys):
    """A benchmark that runs once as a test leaves no curve."""
    benchmark = Benchmark(disabled=True)
    state_curve(benchmark, **applied(3e7))
    assert not benchmark.extra_info
    assert not capsys.readouterr().out


def test_a_curve_in_words_has_a_line_a_point(capsys):
    """What is printed suffices without the page."""
    state_curve(Benchmark(), **applied(3e7))
    assert capsys.readouterr().out == (
        "\ncurve_apply:\n  100,000 cells, onhand 30 million movements/s, "
        "a plain C loop 60 million movements/s\n"
    )
