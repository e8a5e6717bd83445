"""Length and rate of a recording from its header, read in a process of its own.

Decoders are written in C. One that crashes or hangs on a hostile file costs that file, and not the
corpus: the process is started anew for the next one.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

from pianoeval.errors import BadInputError, PianoevalError
from pianoeval.params import HIGHEST_HZ, LOWEST_HZ

LIMIT_S = 120.0  # of one file; the frames of a long mp3 are counted, on a disk that may be slow
_START_S = 60.0
_NEXT = "remove the file, or export it again"


def sound_header(path: Path, limit_s: float = LIMIT_S) -> tuple[int, int]:
    """Frames, and frames a second, as the header states them.

    Raises
    ------
    BadInputError
        Not readable, of a rate that no recording has, or the decoder crashed or hung on it.
    PianoevalError
        The process cannot be started.
    """
    global _reader
    with _lock:
        if _reader is None:
            _reader = _Reader()
        answer = _reader.ask(path, limit_s)
        if not answer:
            reason, _reader = _reader.end(), None
            raise BadInputError(f"the decoder {reason}", where=path, next_step=_NEXT)
    found: dict[str, int | str] = json.loads(answer)
    if "error" in found:
        raise BadInputError(
            f"not readable as audio ({found['error']})", where=path, next_step=_NEXT
        )
    rate_hz = int(found["rate_hz"])
    if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
        raise BadInputError(
            f"{rate_hz} Hz", where=path, allowed=f"{LOWEST_HZ} to {HIGHEST_HZ} Hz", next_step=_NEXT
        )
    return int(found["frames"]), rate_hz


class _Reader:
    """A process that takes a path a line and answers with a line."""

    def __init__(self) -> None:
        places = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        # What decoders print is in their answer too.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pianoeval.soundheader"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
        )  # fmt: skip
        if not self._line(_START_S):
            self.end()
            raise PianoevalError(
                "the process that reads recordings does not start", where="soundfile",
                next_step=f"{sys.executable} -c 'import soundfile'",
            )  # fmt: skip

    def ask(self, path: Path, limit_s: float) -> bytes:
        """The answer; empty where there is none."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(str(path)).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return b""
        return self._line(limit_s)

    def _line(self, limit_s: float) -> bytes:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], limit_s)
        return self._process.stdout.readline() if ready else b""

    def end(self) -> str:
        """Stop the process; returns what had become of it."""
        try:
            code = self._process.wait(0.5)  # one that crashed has closed its output already
            reason = f"crashed (exit code {code})"
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            reason = "gave no answer in time"
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        return reason


_reader: _Reader | None = None
_lock = threading.Lock()


@atexit.register
def _close() -> None:
    global _reader
    if _reader is not None:
        _reader._process.kill()
        _reader.end()
        _reader = None


def _serve() -> None:
    """Answer until the parent closes its end, or is gone."""
    import soundfile

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # decoders print; that must not stand among the answers
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        answer: dict[str, int | str]
        try:
            found = soundfile.info(json.loads(line))
            answer = {"frames": int(found.frames), "rate_hz": int(found.samplerate)}
        except (soundfile.LibsndfileError, OSError, ValueError) as error:
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
