"""Public git repositories that corpora come from, each at a pinned commit."""

from __future__ import annotations

import logging
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pianoeval.corpora.receipt import read_checksums, tree_digest
from pianoeval.errors import CorruptDataError, MissingAssetError

log = logging.getLogger(__name__)

GIT_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Upstream:
    """A public git repository at a pinned commit, and the files taken from it."""

    url: str
    commit: str
    checksums: Path
    digest: str
    licence: str
    licence_note: str

    def files(self) -> dict[str, str]:
        """Relative path to SHA-256; the list itself is checked against ``digest``."""
        files = read_checksums(self.checksums)
        if tree_digest(files) != self.digest:
            raise CorruptDataError(
                "the list of checksums was changed", where=self.checksums,
                next_step="pip install --force-reinstall pianoeval",
            )  # fmt: skip
        return files


PERCEPIANO = Upstream(
    url="https://github.com/JonghoKimSNU/PercePiano.git",
    commit="e672299",
    checksums=Path(__file__).with_name("percepiano.sha256"),
    digest="2f7d834f0a8e03209752948af23a68e1e6652537b9a035f94e0f2e50c597ef15",
    licence="MIT",
    licence_note="MIT, copyright 2024 Jongho Kim SNU; cite Park, Kim et al., Sci. Rep. 2024. "
    "The licence covers the repository; LICENSE is kept beside the files.",
)


def clone(up: Upstream, names: list[str], folder: Path, next_step: str) -> None:
    """Check out the folders that hold ``names``, and of the history only what that needs.

    Raises
    ------
    MissingAssetError
        No git, no network, no such commit, or no answer in time.
    """
    tops = sorted({f"/{name}" if "/" not in name else f"/{Path(name).parent}/" for name in names})
    log.info("cloning %s at %s", up.url, up.commit)
    fetch = ["clone", "--quiet", "--no-checkout", "--filter=blob:none", "--", up.url, str(folder)]
    _git(fetch, up, next_step)
    _git(["-C", str(folder), "sparse-checkout", "set", "--no-cone", *tops], up, next_step)
    _git(["-C", str(folder), "checkout", "--quiet", "--detach", up.commit], up, next_step)


def _git(arguments: list[str], up: Upstream, next_step: str) -> None:
    # No hooks, no line-ending conversion, no links, and no question that nobody would answer.
    options = ["core.hooksPath=" + os.devnull, "core.autocrlf=false", "core.symlinks=false"]
    command = ["git", *(part for option in options for part in ("-c", option)), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False,
            stdin=subprocess.DEVNULL, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        )  # fmt: skip
    except FileNotFoundError as error:
        raise MissingAssetError("git is not installed", next_step=next_step) from error
    except subprocess.TimeoutExpired as error:
        raise MissingAssetError(
            f"git gave no answer in {GIT_TIMEOUT_S:.0f} s", where=up.url, next_step=next_step
        ) from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["git failed"])[-1]
        raise MissingAssetError(
            f"cannot clone ({reason})", where=up.url,
            next_step=f"{next_step}   (a local copy), or the same command with network access",
        )  # fmt: skip
