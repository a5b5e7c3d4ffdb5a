"""A process that appends to an embedded log and prints each offset once it is acknowledged.

Arguments: the log file, a name that its records carry, and the most bytes a file may have (0: any).
"""

import resource
import sys
from pathlib import Path

from onhand.errors import LogFull
from onhand.log.base import NewRecord
from onhand.log.embedded import EmbeddedLog


def main(path, name, file_bytes_max):
    if file_bytes_max:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, resource.RLIM_INFINITY))
    log = EmbeddedLog(path)
    number = 0
    while True:
        group = [
            NewRecord("stock.sales", b"%s %d" % (name, number + place), b"k" * 100)
            for place in range(1 + number % 7)
        ]
        try:
            positions = log.append(group)
        except LogFull as error:
            sys.stdout.write(f"full {error}\n")
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
            log.append([NewRecord("stock.sales", b"room again")])
            break
        for place, (_, _, offset) in enumerate(positions):
            sys.stdout.write(f"{number + place} {offset}\n")
        sys.stdout.flush()
        number += len(group)
    log.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3]))
