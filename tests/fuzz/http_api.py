"""Fuzz the HTTP API by its own OpenAPI: ``python -m tests.fuzz.http_api --seconds 60``.

A whole deployment is started and given stock whose names schemathesis draws first, so that what it
sends often means something: orders come about, are picked, cancelled and returned.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from http import HTTPStatus
from pathlib import Path

from tests.deployments import Deployment, wait_until

SKUS = ("0", "A", "apple")
LOCATIONS = ("0", "north", "south")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "allow_header_conformance",
)
# What is wrong by the schema and taken for right is for a person to judge: bytes that happen to be
# MessagePack are an event that is refused by name in a 202, and an id may be repeated in a body.
CHECKS_FOR_PEOPLE = (*CHECKS, "negative_data_rejection")
START_WAIT_S = 150
# A body of events is answered by 202 and names the events that are refused.
# A request of the stateful phase takes its body from an answer before, and is said to be wrong in a
# body that it then does not send.
SETTINGS = """
[phases.stateful]
checks.negative_data_rejection.enabled = false

[[operations]]
include-path = "/v1/events"
checks.negative_data_rejection.enabled = false
"""
# A stream has no end.
LEFT_OUT = ("/v1/availability/stream",)


def stock(deployment):
    """Set up places and fill them."""
    for location in LOCATIONS:
        place = {"name": location, "type": "store", "latitude": 52.5, "longitude": 13.4,
                 "postal_code": "10115", "country": "DE", "groups": ["0", "online"]}  # fmt: skip
        put(deployment, f"/v1/locations/{location}", place)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    receipts = [
        {"type": "receipt", "id": f"{sku}-{location}", "source": "fuzz", "occurred_at": now,
         "sku": sku, "location": location, "quantity": 1_000_000}
        for sku in SKUS for location in LOCATIONS
    ]  # fmt: skip
    assert deployment.publish(*receipts) == (202, {"accepted": len(receipts), "rejected": []})


def put(deployment, path, document):
    """Put a document; a server that has just started may ask for patience."""
    wait_until(lambda: deployment.request("PUT", path, document)[0] in {200, 201})


def fuzz(deployment, *, seconds, examples, seed, checks, scratch):
    """Send requests for so long; answer what schemathesis says, and its exit code."""
    (scratch / "schemathesis.toml").write_text(SETTINGS)
    return subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "run"),
            *(f"{deployment.url}/openapi.json", "--checks", ",".join(checks)),
            *(option for path in LEFT_OUT for option in ("--exclude-path", path)),
            *("--header", "Authorization: Bearer whoever"),  # Nobody asks: --no-auth.
            *("--max-time", str(seconds), "--max-examples", str(examples), "--seed", str(seed)),
            *("--request-timeout", "60", "--continue-on-failure", "--warnings", "off"),
        ],
        cwd=scratch, capture_output=True, text=True, check=False,
    )  # fmt: skip


def run(scratch, *, seconds, examples=50, seed=1, checks=CHECKS):
    """Start a deployment, fuzz it, and list what is wrong, with what the server said."""
    deployment = Deployment(scratch, "--table-dir", str(scratch))
    try:
        deployment.start()
        wait_until(lambda: deployment.get("/readyz")[0] == HTTPStatus.OK, START_WAIT_S)
        stock(deployment)
        found = fuzz(
            deployment,
            seconds=seconds,
            examples=examples,
            seed=seed,
            checks=checks,
            scratch=scratch,
        )
        errors = [line for line in deployment.said().splitlines() if '"level":"error"' in line]
        alive = deployment.get("/healthz")[0] == HTTPStatus.OK
    finally:
        deployment.close()
    return found, errors, alive


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.http_api", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onhand-fuzz-", dir="/dev/shm") as scratch:
        found, errors, alive = run(
            Path(scratch),
            seconds=arguments.seconds,
            examples=1_000,
            seed=arguments.seed,
            checks=CHECKS_FOR_PEOPLE,
        )
    print(found.stdout, found.stderr, *errors, sep="\n")
    return int(found.returncode != 0 or bool(errors) or not alive)


if __name__ == "__main__":
    sys.exit(main())
