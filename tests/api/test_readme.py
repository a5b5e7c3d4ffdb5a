"""README.md is true: every command block in it is run, in order, as a stranger would."""

import http.client
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployments import HELD_UP_MS, Deployment, environment, wait_until
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
OWN_TERMINAL = "# in a terminal of its own\n"

pytestmark = pytest.mark.timeout(300)


class Stranger:
    """Someone who types what a document says, in a directory of their own."""

    def __init__(self, scratch, ports):
        self.scratch = scratch
        self.ports = ports
        self.terminals = []
        self.environment = {
            **environment(),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "ONHAND_PORT": str(ports["8000"]),
            "ONHAND_MAX_SUPPLY_AGE_MS": HELD_UP_MS,
        }

    def type(self, block):
        """Run a block; answer what it printed. Ports are replaced by free ones."""
        for written, port in self.ports.items():
            block = block.replace(f":{written}", f":{port}").replace(
                f"--port {written}", f"--port {port}"
            )
        if block.startswith(OWN_TERMINAL):
            return self.open_terminal(block.removeprefix(OWN_TERMINAL))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=self.scratch,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        return done.stdout

    def open_terminal(self, block):
        """Start a server as the block says, and wait until it can be used."""
        port = re.search(r"--port (\d+)", block)
        data = re.search(r"--data (\S+)", block)
        server = Deployment(
            self.scratch,
            data=data[1] if data else "onhand-data",
            port=int(port[1]) if port else self.ports["8000"],
        )
        with server.log_path.open("wb") as log:
            server.process = subprocess.Popen(
                f"exec {block}",
                shell=True,
                cwd=self.scratch,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.terminals.append(server)
        server.wait_ready()
        return server.said()

    def close(self):
        for server in self.terminals:
            server.close()


@pytest.fixture
def stranger(tmp_path, broker, collector):
    ports = {written: free_port() for written in ("8000", "8001", "8002")}
    places = {"9092": broker.address, "4318": collector.place}
    ports |= {written: place.rsplit(":", 1)[1] for written, place in places.items()}
    someone = Stranger(tmp_path, ports)
    yield someone
    someone.close()


def available(server, location):
    status, answer = server.get(f"/v1/availability/4006381333931?location={location}")
    return answer["available"] if status == http.client.OK else None


def blocks(document):
    return FENCE.findall((ROOT / document).read_text())


@pytest.mark.kafka
def test_every_command_of_readme_and_operating_does_what_it_says(stranger, collector):
    """All blocks run in order; what the text claims of their answers holds."""
    said = []
    for block in blocks("README.md"):
        if "/v1/aisle/" in block:
            # Whoever reads on sees the returned unit on its shelf long before typing this.
            wait_until(lambda: available(stranger.terminals[0], "leipzig-1") == 1)
        said.append(stranger.type(block))
    for block in blocks("docs/operating.md"):
        stranger.type(block)
    collector.wait_spans("0af7651916cd43dd8448eb211c80319c", "POST /v1/events", "stock.visible")
    printed = "\n".join(said)
    assert '"accepted":1,"rejected":[]' in said[1]
    assert '"available":12' in said[1]
    assert "2 accepted, 0 rejected" in printed
    assert "Loaded 2 locations" in printed
    assert "0 accepted, 1 rejected" in printed
    assert "Alexanderplatz" in printed
    assert printed.count('"status":"done"') == 3
    assert '"id":"web-2","status":"fulfilled"' in printed
    assert "web-2: fulfilled, by ship" in printed
    assert '"status":"authorised"' in printed
    assert '"status":"received"' in printed
    assert '"here":{"available":1,"enough":false}' in printed
    assert '"locations":["berlin-1"],"why":' in printed
    assert '"status":"open","channel":"store"' in printed
    assert "50 received - 35 handed over + 1 returned" in printed
    assert "SKUs summed, 0 differences" in printed
    assert "holds and orders compared, 0 differences" in printed
    assert ", 0 differences" in printed
    assert "oh_" in said[-1]
    server = stranger.terminals[0]
    wait_until(lambda: server.on_hand("4006381333931", "berlin-1") == 5)


def test_every_path_that_documents_name_exists():
    """Links of README and docs lead somewhere, and the tour walks through real files."""
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
    tour = (ROOT / "README.md").read_text().partition("## Source tour")[2]
    for path in re.findall(r"`((?:src|native|dataflows|tests)/[^`]*)`", tour):
        assert any(ROOT.glob(path.rstrip("/"))), path
