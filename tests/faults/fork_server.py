"""Imports everything once, then runs stages in forked children: one JSON line a run.

A run is ``{"call": [...], "cwd": ..., "env": {...}, "log": ...}``; the answers are its process
number and, when it has ended, its exit status (negative: the signal).
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any


def main(names: list[str]) -> None:
    for name in names:
        importlib.import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            _run(order)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(order: dict[str, Any]) -> None:
    """As ``python -m stages.<name>`` after its imports."""
    os.setsid()
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    with open(order["log"], "wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    import moments

    import stages
    from pianoeval import interrupt

    status: Any = 0
    name, *arguments = order["call"]
    sys.argv = [f"stages/{name}.py", *arguments]
    interrupt.listen(stages._INTERRUPTED)
    moments.install()
    try:
        stages.run(importlib.import_module(f"stages.{name}").main)
    except SystemExit as left:
        status = left.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    finally:
        kind, error, trace = sys.exc_info()
        if kind is not None and error is not None:
            sys.excepthook(kind, error, trace)
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 0)


if __name__ == "__main__":
    main(sys.argv[1:])
