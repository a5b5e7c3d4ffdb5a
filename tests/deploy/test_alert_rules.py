"""Alerting rules fire when they should and only then, and lead to a page that helps."""

import copy
import functools
import re
import shutil
from pathlib import Path

import pytest
import yaml

from onhand.metrics import REGISTRY
from onhand.model.codes import RejectCode
from onhand.settings import Settings
from onhand.web.exposition import TABLE_GAUGES
from onhand.web.problem import ProblemCode
from tests.prometheus import FOLDER, RULES, metrics_in, promtool, rules

TESTS = sorted((FOLDER / "tests").glob("*.yml"))
LONG = {"burn_rates_slow.yml"}
GUIDE = Path(__file__).parents[2] / "docs" / "alerts.md"
SECTION = re.compile(r"^## (\w+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
KNOWN = {*REGISTRY, *TABLE_GAUGES}
NAMES = sorted({rule["alert"] for rule in rules("alert")})


@functools.cache
def cases():
    """List the cases of all files of unit tests."""
    return [case for path in TESTS for case in yaml.safe_load(path.read_text())["tests"]]


def test_the_configuration_is_one_that_prometheus_takes():
    """Promtool reads the scrape configuration and every rule beside it."""
    code, said = promtool("check", "config", FOLDER / "prometheus.yml")
    assert code == 0, said
    assert said.count("rules found") == len(list(RULES.glob("*.yml")))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[pytest.mark.slow] * (p.name in LONG), id=p.stem) for p in TESTS],
)
def test_rules_do_what_their_unit_tests_say(path):
    """Every case of a file holds."""
    code, said = promtool("test", "rules", path)
    assert code == 0, said


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_shown_to_fire_and_to_be_silent(name):
    """Among the unit tests is a moment at which it fires, and one at which it does not."""
    asked = f'alertname="{name}"'
    moments = [
        moment for case in cases() for moment in case["promql_expr_test"] if asked in moment["expr"]
    ]
    severities = {rule["labels"]["severity"] for rule in rules("alert") if rule["alert"] == name}
    fired = {
        label
        for moment in moments
        for sample in moment["exp_samples"]
        for label in re.findall(r'severity="(\w+)"', sample["labels"])
    }
    assert fired == severities
    assert any(not moment["exp_samples"] for moment in moments)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", [path for path in TESTS if path.name not in LONG], ids=str)
def test_unit_tests_notice_every_rule_that_is_wrong(path, tmp_path):
    """An alert that never fires, or always, or at once, fails the cases that are about it."""
    shutil.copytree(RULES, tmp_path / "rules")
    (tmp_path / "tests").mkdir()
    alerts = yaml.safe_load((RULES / "alerts.yml").read_text())
    text = path.read_text()
    unnoticed = []
    for name in sorted(set(re.findall(r'alertname="(\w+)"', text))):
        (tmp_path / "tests" / path.name).write_text(_only_about(name, text))
        for how, change in WRONGS.items():
            wrong = copy.deepcopy(alerts)
            changed = [
                change(rule)
                for group in wrong["groups"]
                for rule in group["rules"]
                if rule["alert"] == name
            ]
            if not any(changed):
                continue
            (tmp_path / "rules" / "alerts.yml").write_text(yaml.safe_dump(wrong))
            code, _ = promtool("test", "rules", tmp_path / "tests" / path.name)
            unnoticed += [f"{name} {how}"] * (code == 0)
    assert unnoticed == []


def _never(rule):
    rule["expr"] = f"({rule['expr']}) and on () vector(0) > 1"
    return True


def _always(rule):
    rule["expr"] = "vector(1)"
    return True


def _at_once(rule):
    # Ratios over windows wait by themselves; what they wait for besides is a matter of minutes.
    return "ratio_" not in rule["expr"] and rule.pop("for", None) is not None


WRONGS = {"never fires": _never, "always fires": _always, "fires at once": _at_once}


def _only_about(name, text):
    document = yaml.safe_load(text)
    asked = f'alertname="{name}"'
    document["tests"] = [
        case
        for case in document["tests"]
        if any(asked in moment["expr"] for moment in case["promql_expr_test"])
    ]
    return yaml.safe_dump(document)


def test_rules_ask_for_metrics_that_exist():
    """A metric that is renamed or removed is noticed here, not in the night."""
    asked = set().union(*(metrics_in(rule["expr"]) for rule in rules("alert") + rules("record")))
    assert len(asked) > 15
    assert asked <= KNOWN


def test_rules_ask_for_ratios_that_are_recorded():
    """Every recorded name that an alert asks for is recorded, and none for nobody."""
    recorded = {rule["record"] for rule in rules("record")}
    asked = set(re.findall(r"onhand:\w+:\w+", " ".join(rule["expr"] for rule in rules("alert"))))
    assert asked <= recorded
    assert {name for name in recorded if "ratio" in name} <= asked


def test_bounds_asked_for_are_bounds_of_the_histograms():
    """A latency objective is counted by a bucket that exists."""
    for rule in rules("record"):
        for bound in re.findall(r'le="([\d.]+)"', rule["expr"]):
            for name in metrics_in(rule["expr"]):
                assert bound in map(str, REGISTRY[name].bounds), rule["record"]


def test_thresholds_that_follow_a_setting_are_its_default():
    """The rules assume what docs/alerts.md says they assume."""
    by_name = {rule["alert"]: rule["expr"] for rule in rules("alert")}
    defaults = Settings()
    supply_s = defaults.max_supply_age_ms / 1_000
    assert by_name["OnhandPromisesStopped"] == f"onhand_supply_age_seconds > {supply_s:g}"
    checkpoint_s = 4 * defaults.checkpoint_interval_s
    assert (
        f"onhand_checkpoint_timestamp_seconds > {checkpoint_s:g}"
        in (by_name["OnhandCheckpointOld"])
    )


@pytest.mark.parametrize("rule", rules("alert"), ids=lambda rule: rule["alert"])
def test_every_alert_leads_to_its_section(rule):
    """Its link ends in the anchor of a section that says what it means, what to see and to do."""
    sections = dict(SECTION.findall(GUIDE.read_text()))
    name = rule["alert"]
    link = rule["annotations"]["runbook_url"]
    assert link == "{{ $externalLabels.docs }}/alerts.md#" + name.lower()
    for part in ("**Means**", "**Look at**", "**Do**"):
        assert part in sections[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["labels"]["severity"] in sections[name].partition(")")[0]


def test_no_section_is_of_an_alert_that_is_gone():
    """The guide has sections of alerts that exist, and links that lead somewhere."""
    text = GUIDE.read_text()
    assert sorted(name for name, _ in SECTION.findall(text)) == NAMES
    operating = (GUIDE.parent / "operating.md").read_text()
    for target, anchor in re.findall(r"\]\((\w*(?:\.md)?)#([\w-]+)\)", text):
        headings = operating if target == "operating.md" else text
        assert anchor in map(_anchor, re.findall(r"^#+ (.+)$", headings, re.MULTILINE))


def _anchor(heading):
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def test_the_guide_names_metrics_and_settings_that_exist():
    """What one is told to look at or to set is there."""
    text = GUIDE.read_text()
    assert set(re.findall(r"`(onhand_[a-z_]+)", text)) <= KNOWN
    words = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text)) - KNOWN
    codes = {*map(str, ProblemCode), *map(str, RejectCode)}
    assert words - codes - set(Settings.__struct_fields__) == {"orders_broken", "scrape_configs"}
