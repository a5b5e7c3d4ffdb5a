"""The feed of purchases as a process beside a server."""

import subprocess
import sys

from tests.deployments import WAIT_S, environment, hears, wait_until


class Feed:
    """``onhand purchases`` on the data of a server; flags are those of the server."""

    def __init__(self, server, *flags):
        scratch = server.data.parent
        self.log_path = scratch / "purchases.log"
        self.argv = [
            *(sys.executable, "-m", "onhand.cli", "purchases", "--data", str(server.data)),
            *("--table-dir", str(scratch), *flags),
        ]
        self.process = None

    def start(self):
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, stdout=log, stderr=subprocess.STDOUT, env=environment()
            )
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def said(self):
        return self.log_path.read_text()

    def close(self):
        """End it, once it can be asked to; answer its exit code."""
        wait_until(lambda: self.process.poll() is not None or hears(self.process.pid))
        self.process.terminate()
        return self.process.wait(WAIT_S)
