"""The Pianoteq program: where it is, what it answers, and how it is run.

What an installed version takes is read from its ``--help``: a required option that is not named
there is an error, an optional one is left out. ``--normalize`` is never given, because dynamics
are rated.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pianoeval.errors import MissingAssetError, PianoevalError
from pianoeval.provenance import sha256_file

VARIABLE = "PIANOTEQ"
RATE_HZ = 44_100
_NAMES = [
    *(f"Pianoteq {version}{kind}" for version in (9, 8, 7, 6) for kind in ("", " STAGE", " PRO")),
    "pianoteq",
]
_REQUIRED = ("--headless", "--preset", "--midi", "--wav", "--rate")
# 24 bits hold 16 and whatever gain follows; without dither two renders are the same bytes.
_OPTIONAL: dict[str, tuple[str, ...]] = {
    "--quiet": (), "--mono": (), "--bit-depth": ("24",), "--dither": ("OFF",),
}  # fmt: skip
_ASK_S = 60.0  # for a question


class PianoteqError(PianoevalError):
    """The program did not do what was asked of it."""


@dataclass(frozen=True)
class Program:
    """An installed Pianoteq.

    Attributes
    ----------
    path : str
    version : str
        What ``--version`` says, or the digest of the file where it says nothing.
    options : tuple of str
        Of ``_OPTIONAL``, those that it knows.
    """

    path: str
    version: str
    options: tuple[str, ...]

    def identity(self) -> dict[str, str]:
        """What changes samples, for keys."""
        return {"pianoteq": self.version, "options": " ".join(self.options)}

    def command(self, preset: str, midi: Path, wav: Path) -> list[str]:
        """The command line that renders ``midi`` as ``wav``."""
        extra = [word for name in self.options for word in (name, *_OPTIONAL[name])]
        return [
            self.path, "--headless", *extra, "--preset", preset, "--midi", str(midi),
            "--wav", str(wav), "--rate", str(RATE_HZ),
        ]  # fmt: skip


def find_program() -> Program | None:
    """Pianoteq by ``$PIANOTEQ``, on the search path, or where its installer puts it; else None.

    Raises
    ------
    MissingAssetError
        ``$PIANOTEQ`` names no program.
    PianoteqError
        It does not answer, or lacks an option that is needed.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not _is_program(named):
            raise MissingAssetError(
                "not a program that can be run", where=named,
                next_step=f"set {VARIABLE} to the Pianoteq program, or unset it",
            )  # fmt: skip
        return _asked(str(Path(named).resolve()))
    places = [shutil.which(name) for name in _NAMES]
    places += [f"/Applications/{name}/{name}.app/Contents/MacOS/{name}" for name in _NAMES]
    places += [rf"C:\Program Files\Modartt\{name}\{name}.exe" for name in _NAMES]
    found = next((place for place in places if place and _is_program(place)), None)
    return None if found is None else _asked(found)


def _is_program(place: str) -> bool:
    return Path(place).is_file() and os.access(place, os.X_OK)


def program() -> Program:
    """As :func:`find_program`; raises MissingAssetError where there is none."""
    found = find_program()
    if found is None:
        raise MissingAssetError(
            "Pianoteq is not installed here",
            allowed="instruments with engine: soundfont",
            next_step=f"install it, set {VARIABLE} to the program, or take the instrument out of"
            " axes.instrument",
        )
    return found


@lru_cache(maxsize=4)
def _asked(path: str) -> Program:
    known = set(re.findall(r"--[a-z0-9][a-z0-9-]*", _answer(path, "--help")))
    if missing := [name for name in _REQUIRED if name not in known]:
        raise PianoteqError(
            f"--help does not name {', '.join(missing)}", where=path,
            allowed="Pianoteq 7 or later", next_step=f"set {VARIABLE} to another version",
        )  # fmt: skip
    lines = _answer(path, "--version").split("\n") if "--version" in known else []
    said = next((line.strip() for line in lines if line.strip()), "")
    version = said or f"sha256:{sha256_file(Path(path))}"
    return Program(path, version, tuple(name for name in _OPTIONAL if name in known))


def _answer(path: str, question: str) -> str:
    done = run([path, question], _ASK_S)
    return done.stdout + done.stderr


def run(command: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run to its end; raises PianoteqError where that does not come in time."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout_s,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise PianoteqError(f"no result in {timeout_s:.0f} s", where=command[0]) from error
    except OSError as error:
        raise PianoteqError(f"cannot be run: {error}", where=command[0]) from error


def presets(path: str) -> list[str]:
    """Fields of what ``--list-presets`` says; empty where the program has no such option."""
    if "--list-presets" not in _answer(path, "--help"):
        return []
    lines = _answer(path, "--list-presets").splitlines()
    fields = [field.strip(" \"'") for line in lines for field in re.split(r"\t|\s{2,}", line)]
    return [field for field in dict.fromkeys(fields) if field]
