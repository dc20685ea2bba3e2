"""Workers: what the processes and jobs of the engines run.

``python -m nearsight.executors.work CALL.json RESULT.json`` carries out one call.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

from nearsight.executors.processes import MARK, kill_marked
from nearsight.executors.protocol import BEGUN, READY, call_function
from nearsight.files.atomic import write_text

__all__ = ["main", "serve"]


def main() -> None:
    """Carry out the call in one file and write its result into another.

    Of several MPI processes, all of which do the same, the first writes.
    """
    if len(sys.argv) != 3:
        raise SystemExit("usage: python -m nearsight.executors.work CALL.json RESULT.json")
    result = call_function(Path(sys.argv[1]).read_text())
    if os.environ.get("SLURM_PROCID", "0") == "0":
        write_text(sys.argv[2], json.dumps(result, allow_nan=False))
    if "error" in result:
        sys.exit(1)  # srun ends the other processes, which may wait for this one


def serve() -> None:
    """Carry out calls from standard input, one a line, until it ends; results go to its output."""
    calls, results = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # the terminal belongs to the driver
        os.dup2(nothing, stream)
    lines: SimpleQueue[str] = SimpleQueue()
    busy = Event()
    Thread(target=_listen, args=(calls, lines, busy), daemon=True).start()
    with os.fdopen(results, "w", encoding="utf-8") as output:

        def tell(line: str) -> None:
            output.write(line)
            output.flush()

        tell(READY)
        while call := lines.get():
            try:
                result = call_function(call, lambda: tell(BEGUN))
            finally:  # one that exits closes its pipe first, which is not the driver's end
                busy.clear()
            tell(json.dumps(result, allow_nan=False) + "\n")


def _listen(calls: int, lines: SimpleQueue[str], busy: Event) -> None:
    """Pass calls on; when there are no more, the driver is gone: end, and all that was started."""
    with os.fdopen(calls, encoding="utf-8") as stream:
        for line in stream:
            busy.set()
            lines.put(line.rstrip("\n"))
    lines.put("")
    if busy.is_set():
        kill_marked(os.environ.get(MARK, ""))
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
