"""Prometheus for tests: promtool, and a server of our own that watches what a test runs.

Both come from the installed package. Without them a run skips, and a gate (``CI=true``) fails.
"""

import contextlib
import functools
import re
import subprocess
from pathlib import Path

import httpx
import yaml

from tests.deployments import wait_until
from tests.needs import need_program
from tests.ports import free_port

FOLDER = Path(__file__).parents[1] / "deploy" / "prometheus"
RULES = FOLDER / "rules"
SCRAPE = "2s"
SHORT = "40s"
START_S_MAX = 120
ADVICE = "install Prometheus (Debian: apt-get install prometheus)"
RANGE = re.compile(r"\[\w+\]")
OFFSET = re.compile(r"offset \w+")
PATTERN = re.compile(r"onhand_[a-z0-9_]*\([a-z|]+\)[a-z0-9_]*|onhand_[a-z0-9_]+")
SUFFIXES = ("_bucket", "_count", "_sum")


def program(name):
    """Find a program of Prometheus."""
    return need_program(name, ADVICE)


def promtool(*arguments):
    """Run promtool; answer its exit code and all that it said."""
    ended = subprocess.run(
        [program("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout + ended.stderr


@functools.cache
def rules(kind):
    """List the rules of a kind, ``alert`` or ``record``."""
    groups = [
        group
        for path in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def metrics_in(expression):
    """Name the metrics that an expression asks for, without what histograms add to a name."""
    found = set()
    for name in PATTERN.findall(expression):
        head, *rest = re.split(r"[()]", name)
        names = [head + each + rest[1] for each in rest[0].split("|")] if rest else [head]
        found |= {_without_suffix(each) for each in names}
    return found


def _without_suffix(name):
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name


class Prometheus:
    """A server that scrapes one target every few seconds by the shipped configuration.

    Ranges and waits of the rules are shortened, so that hours pass in a minute; what is asked and
    what is compared stays as it is shipped.
    """

    def __init__(self, scratch, target):
        self._folder = scratch / "prometheus"
        (self._folder / "rules").mkdir(parents=True)
        for path in RULES.glob("*.yml"):
            shortened = _shortened(yaml.safe_load(path.read_text()))
            (self._folder / "rules" / path.name).write_text(yaml.safe_dump(shortened))
        config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        times = {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": "1s"}
        config["global"] |= times
        config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.port = free_port()
        self.log_path = self._folder / "prometheus.log"
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}/api/v1", timeout=20)
        self._process = None

    def start(self):
        command = [
            program("prometheus"),
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self._is_ready, START_S_MAX)
        return self

    def _is_ready(self):
        assert self._process.poll() is None, self.log_path.read_text()
        with contextlib.suppress(httpx.TransportError):
            return self._client.get("../../-/ready").is_success
        return False

    def query(self, expression):
        """Answer the series of an expression as of now."""
        return self._get("query", query=expression)["result"]

    def firing(self, name):
        """Answer the alerts of a name that fire."""
        alerts = self._get("alerts")["alerts"]
        return [
            alert
            for alert in alerts
            if alert["labels"]["alertname"] == name and alert["state"] == "firing"
        ]

    def unhealthy_rules(self):
        """Name the rules that could not be evaluated."""
        groups = self._get("rules")["groups"]
        each = [rule for group in groups for rule in group["rules"]]
        return {rule["name"]: rule.get("lastError") for rule in each if rule["health"] == "err"}

    def _get(self, path, **parameters):
        answer = self._client.get(path, params=parameters)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    def close(self):
        self._client.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)


def shortened(expression):
    """Look back over seconds where an expression looks back over minutes or days."""
    ranges = expression.replace("$__rate_interval", SHORT)
    return OFFSET.sub(f"offset {SHORT}", RANGE.sub(f"[{SHORT}]", ranges))


def _shortened(document):
    for group in document["groups"]:
        for rule in group["rules"]:
            rule["expr"] = shortened(rule["expr"])
            if "for" in rule:
                rule["for"] = "1s"
    return document
