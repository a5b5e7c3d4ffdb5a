"""Types that many threads decode for a first time at once."""

import subprocess
import sys

import pytest

from onhand.customers.feed import keep_purchases
from onhand.ingest.changes import publish_changes
from onhand.ingest.run import run_ingest
from onhand.recommendations.run import learn_recommendations
from onhand.web.server import load_front

MEET = """
import sys, threading
from typing import Annotated
import msgspec
from onhand.structs import make_structs_ready

Count = Annotated[int, msgspec.Meta(ge=0)]

def made(number):
    inner = [(f"a{at}", Count | None, None) for at in range(20)]
    inner = msgspec.defstruct(f"Inner{number}", inner, module="onhand.made")
    outer = [(f"f{at}", list[inner] | None, None) for at in range(20)]
    return msgspec.defstruct(f"Outer{number}", outer, module="onhand.made")

def decode(kind):
    together.wait()
    msgspec.json.decode(b'{"f0": [{"a19": 3}], "f19": [{"a1": 2}]}', type=kind)

sys.setswitchinterval(1e-6)
kinds = [made(number) for number in range(300)]
make_structs_ready()
for kind in kinds:
    together = threading.Barrier(3)
    threads = [threading.Thread(target=decode, args=(kind,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_threads_may_decode_a_type_for_the_first_time_at_once():
    """What was made ready is whole; what was not ends the process now and then."""
    ended = subprocess.run([sys.executable, "-c", MEET], check=False, timeout=120)
    assert ended.returncode == 0


@pytest.mark.parametrize(
    "begin", [run_ingest, load_front, publish_changes, keep_purchases, learn_recommendations]
)
def test_every_process_with_threads_makes_its_types_ready(begin):
    """A process that leaves it out ends by chance only, so its code is looked at."""
    assert "make_structs_ready" in begin.__code__.co_names
