# ruff: noqa: E501 - payloads read best on a line of their own
"""Reads hostile inputs as the product does, one a line of standard input; see ``hostile_run``.

Under an audit hook: whatever an input makes Python do beside reading is a finding.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_readers

from pianoeval.errors import PianoevalError

_STATUS = Path("/proc/self/status")
_FORBIDDEN = {
    "pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork",
    "os.spawn", "socket.connect", "socket.bind", "ctypes.dlopen", "import_untrusted",
}  # fmt: skip
# Libraries that make functions out of text of their own while they are imported or warm up.
_GENERATORS = ("dataclasses.py", "collections/__init__.py", "/numba/", "/attr/", "/pydantic/",
               "/pandas/", "/typing.py", "/llvmlite/", "/numpy/", "/torch/", "/enum.py")  # fmt: skip
_seen: list[str] = []
_watching = False
_scratch = ""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    global _watching
    if not _watching:
        return
    if event in _FORBIDDEN:
        _seen.append(f"{event} {arguments!r}"[:300])
    elif event == "open" and isinstance(arguments[2], int):
        writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        if writes and isinstance(arguments[0], str | bytes):
            path = os.fsdecode(arguments[0])
            if not os.path.realpath(path).startswith((_scratch, "/dev/null")):
                _seen.append(f"writes {path!r}")
    elif event in ("exec", "compile") and not _by_library():
        _seen.append(f"{event} {arguments!r}"[:300])


def _by_library() -> bool:
    """Whether a module is being imported, or a library makes a function of text of its own."""
    frame = sys._getframe(2)
    while frame:
        name = frame.f_code.co_filename
        if "importlib._bootstrap" in name or any(part in name for part in _GENERATORS):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _memory_mb(name: str) -> float:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0


def _attempt(read: Callable[[Path, Path], None], path: Path, work: Path) -> tuple[str, str]:
    global _watching
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    _watching = True
    try:
        read(path, work)
        verdict = ("ok", "")
    except PianoevalError as error:
        verdict = ("refused", str(error))
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        _watching = False
        trace = "".join(traceback.format_exception(error)[-9:])
        verdict = (f"raised {type(error).__name__}", trace[-3000:])
    _watching = False
    if _seen:
        verdict = ("did more than read", "; ".join(_seen))
        _seen.clear()
    return verdict


def main(scratch: str, limit_mb: str) -> None:
    global _scratch
    _scratch = os.path.realpath(scratch)
    logging.disable(logging.CRITICAL)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    os.environ["TMPDIR"] = _scratch
    work = Path(_scratch) / f"work-{os.getpid()}"
    hostile_readers.warm_up(work)
    sys.addaudithook(_hook)
    has_status = _STATUS.exists()
    if has_status:
        limit = int((_memory_mb("VmSize:") + float(limit_mb)) * 2**20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        kind, path = json.loads(line)
        before = 0.0
        if has_status:
            Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
            before = _memory_mb("VmRSS:")
        verdict, text = _attempt(hostile_readers.READERS[kind], Path(path), work)
        grown = _memory_mb("VmHWM:") - before if has_status else 0.0
        print(json.dumps([verdict, text, max(grown, 0.0)]), file=out, flush=True)
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
