"""Values written into params.yaml: comments, order and neighbours stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.params_edit import set_values

TEXT = """\
# Head.
encoders: # all of them
  muq: # large
    kind: muq
    digest: "" # written by a command

  # Between the blocks.
  mel: {kind: mel, n_mels: 128}
  bare:
    kind: dac
  nested:
    over: {a: 1}

pool: # over frames
  stats: [mean, std]   # both
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_a_value_is_replaced_in_its_line(path: Path) -> None:
    assert set_values(path, ["encoders", "muq"], {"digest": "12"})
    assert path.read_text() == TEXT.replace('digest: "" #', 'digest: "12" #')
    assert not set_values(path, ["encoders", "muq"], {"digest": "12"})


@pytest.mark.parametrize(
    ("block", "old", "new"),
    [
        ("muq", "kind: muq\n", 'kind: muq\n    revision: "ab"\n    model: "x/y"\n'),
        ("mel", "{kind", '{revision: "ab", model: "x/y", kind'),
        ("bare", "kind: dac\n", 'kind: dac\n    revision: "ab"\n    model: "x/y"\n'),
        ("nested", "    over:", '    revision: "ab"\n    model: "x/y"\n    over:'),
    ],
)
def test_a_new_value_joins_its_block(path: Path, block: str, old: str, new: str) -> None:
    assert set_values(path, ["encoders", block], {"revision": "ab", "model": "x/y"})
    assert path.read_text() == TEXT.replace(old, new)
    expected = yaml.safe_load(TEXT)
    expected["encoders"][block] |= {"revision": "ab", "model": "x/y"}
    assert yaml.safe_load(path.read_text()) == expected


@pytest.mark.parametrize("old", ['""', "''", "", "~", "abc", "[1, 2]"])
def test_whatever_stood_there_is_replaced(path: Path, old: str) -> None:
    text = TEXT.replace('digest: ""', f"digest: {old}".rstrip())
    path.write_text(text, encoding="utf-8")
    set_values(path, ["encoders", "muq"], {"digest": "ab"})
    assert path.read_text() == TEXT.replace('""', '"ab"')


def test_a_block_that_is_not_there(path: Path) -> None:
    with pytest.raises(ConfigError, match="a block to write to is not there"):
        set_values(path, ["encoders", "mert"], {"digest": "ab"})
    assert path.read_text() == TEXT


@settings(max_examples=40, deadline=None)
@given(st.from_regex(r"[0-9a-f]{1,12}", fullmatch=True))
def test_a_hash_stays_text(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    path = tmp_path_factory.mktemp("edit") / "params.yaml"
    path.write_text(TEXT, encoding="utf-8")
    set_values(path, ["encoders", "muq"], {"digest": value})
    assert yaml.safe_load(path.read_text())["encoders"]["muq"]["digest"] == value


@pytest.mark.parametrize(
    "text",
    [
        "encoders:\n  b: &m\n    kind: mert\n    digest: ''\n  a: *m\n",
        "encoders:\n  b: {kind: mert, digest: &d old}\n  a: {kind: mert, digest: *d}\n",
    ],
    ids=["block", "value"],
)
def test_what_an_anchor_shares_is_not_changed(text: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="without changing something else") as caught:
        set_values(path, ["encoders", "a"], {"digest": "0" * 8})
    assert caught.value.next_step == 'set by hand in this block: digest: "00000000"'
    assert path.read_text() == text


def test_line_ends_stay(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"encoders:\r\n  a:\r\n    kind: mert\r\n    digest: ''\r\n")
    assert set_values(path, ["encoders", "a"], {"digest": "1"})
    assert path.read_bytes() == b'encoders:\r\n  a:\r\n    kind: mert\r\n    digest: "1"\r\n'


def test_a_file_that_cannot_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pianoeval.atomic.os.replace", refused)
    with pytest.raises(PianoevalError, match="Permission denied") as caught:
        set_values(path, ["encoders", "muq"], {"digest": "1"})
    assert caught.value.where == str(path)
    assert "run the same command" in (caught.value.next_step or "")
    assert path.read_text(encoding="utf-8") == TEXT
