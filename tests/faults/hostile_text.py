# ruff: noqa: E501 - payloads read best on a line of their own
"""Tables, parameters and other text files that are not what they say."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import yaml
from hostile_midi import damaged
from workspaces import ROOT

NAMES = (
    "<script>alert(1)</script>", "</script><script>alert(1)</script>", '"onmouseover="alert(1)',
    "javascript:alert(1)", "]]>", "a\u2028b", "a\u202egpj.exe", "\x1b[31mred\x1b]0;title\x07", "[red]x[/red]",
    "a\nb", "a\tb", "a\rb", "=1+1", "@SUM(1)", "+1", "-1", "|pipe|", "`tick`", "{{ 7*7 }}", "{% raw %}",
    "\N{GRINNING FACE}", "e\u0301", "\u00e9", "CON", "NUL.txt", "..", ".", "../../etc/passwd", "/etc/passwd",
    "C:\\Windows", "a\\b", "~root", "$(touch x)", "`touch x`", "; rm -rf x", "%s%n", "\x00", "x" * 4000,
    "nan", "inf", "-inf", "1e308", "1e309", "1e-400", "0x10", "1_000", "True", "null", "None", "", " ",
    "\ufeff", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 2**64, 10**30, -(10**30), 0.0, -0.0, 1e-300, 1e308, 1e400, -1e400,
    float("nan"), "", " ", [], {}, [[]], [None], {"": ""}, [1] * 1000, "x" * 10_000, *NAMES[:20],
)  # fmt: skip


def _label_table(rows: list[list[str]]) -> bytes:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n\r') else text

    return "\n".join(",".join(cell(text) for text in row) for row in rows).encode(
        "utf-8", "surrogatepass"
    )


GOOD = b"file,player,piece,tone,rhythm\na.mid,Anna,Waltz,0.5,0.25\nb.mid,Ben,Waltz,0.75,1\n"
LONG = b"file,rater,dimension,value\na.mid,R1,tone,0.5\na.mid,R2,tone,0.25\nb.mid,R1,tone,1\nb.mid,R2,tone,1\n"


def label_tricks() -> Iterator[tuple[str, bytes]]:
    """``labels.csv`` of a folder with ``a.mid`` and ``b.mid``."""
    yield "empty", b""
    yield "one line", b"file,tone"
    yield "blank lines", b"\n\n\n\n"
    yield "commas", b"," * 999
    yield "BOM", b"\xef\xbb\xbf" + GOOD
    yield "UTF-16", GOOD.decode().encode("utf-16")
    yield "UTF-16 without BOM", GOOD.decode().encode("utf-16-le")
    yield "Latin-1", GOOD.replace(b"Anna", b"Ann\xe9")
    yield "NUL", GOOD.replace(b"Anna", b"An\0na")
    yield "NUL in the header", GOOD.replace(b"tone", b"to\0ne")
    yield "zeros", bytes(5000)
    yield "old Mac", GOOD.replace(b"\n", b"\r")
    yield "Windows", GOOD.replace(b"\n", b"\r\n")
    yield (
        "million columns",
        b"file,"
        + b",".join(b"d%d" % i for i in range(1_000_000))
        + b"\na.mid,"
        + b"1," * 999_999
        + b"1",
    )
    yield "million columns, quoted", b'"fi\nle",' + b",".join(b"d" for _ in range(1_000_000))
    yield (
        "200000 rows",
        b"file,rater,dimension,value\n"
        + b"".join(b"a.mid,R%d,tone,0.5\n" % i for i in range(200_000)),
    )
    yield "million equal rows", b"file,dimension,value\n" + b"a.mid,tone,0.5\n" * 300_000
    yield "ragged", GOOD + b"a.mid,1,2,3,4,5,6,7,8,9\n"
    yield "quote without end", GOOD + b'"' + b"x,\n" * 1000
    yield "long cell", GOOD.replace(b"Anna", b"A" * 2_000_000)
    yield "long quoted cell", b'file,"' + b"x" * 2_000_000 + b'"\na.mid,1\n'
    yield "the same clip twice", GOOD + b"a.mid,Anna,Waltz,0.5,0.5\n"
    yield "columns twice", b"file,tone,tone\na.mid,1,2\n"
    yield "huge ratings", LONG.replace(b"0.5", b"1e308").replace(b"0.25", b"1.7e308")
    yield "too large", b"file,tone\n" + b"#" * (65 << 20)
    for word in ("task", "n_raters", "sd", "higher_is_better", "low_pole"):
        for value in (
            "",
            "nan",
            "1e308",
            "1.5",
            "-3",
            "999999999999999999999999",
            "<b>",
            "perhaps",
            "rating",
        ):
            yield (
                f"{word} {value}",
                f"file,dimension,value,{word}\na.mid,tone,1,{value}\nb.mid,tone,0,{value}\n".encode(),
            )
    for name in NAMES:
        yield f"file {name[:20]!r}", _label_table([["file", "tone"], [name, "1"]])
        yield (
            f"player {name[:20]!r}",
            _label_table([["file", "player", "tone"], ["a.mid", name, "1"]]),
        )
        yield f"dimension {name[:20]!r}", _label_table([["file", name], ["a.mid", "1"]])
        yield f"value {name[:20]!r}", _label_table([["file", "tone"], ["a.mid", name]])
        yield (
            f"segment {name[:20]!r}",
            _label_table([["file", "segment", "tone"], ["a.mid", name, "1"], ["b.mid", name, "0"]]),
        )
        yield (
            f"rater {name[:20]!r}",
            _label_table([["file", "rater", "dimension", "value"], ["a.mid", name, name, "1"]]),
        )
        yield f"score {name[:20]!r}", _label_table([["file", "score"], ["a.mid", name]])


def label_random(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    rng = random.Random(seed)
    for _ in range(count):
        if rng.random() < 0.5:
            heads = rng.sample(
                [
                    "file",
                    "clip",
                    "rater",
                    "dimension",
                    "value",
                    "task",
                    "tone",
                    "sd",
                    "player",
                    "score",
                    "take",
                    "",
                ],
                rng.randrange(1, 7),
            )
            cells = ["a.mid", "b.mid", "a", "0.5", "1", "", "rating", *rng.sample(NAMES, 4)]
            rows = [heads] + [[rng.choice(cells) for _ in heads] for _ in range(rng.randrange(6))]
            yield "table", _label_table(rows)
        else:
            how, data = damaged(rng.choice((GOOD, LONG)), [GOOD, LONG], rng)
            yield how, data


def yaml_tricks() -> Iterator[tuple[str, bytes]]:
    """``params.yaml``."""
    shipped = (ROOT / "params.yaml").read_bytes()
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
    )
    merges = "a0: &a0 {k0: 1}\n" + "".join(
        f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
    )
    yield "shipped", shipped
    yield "empty", b""
    yield "billion laughs", laughs.encode()
    yield "billion laughs in a block", shipped + b"\nx:\n  " + laughs.replace("\n", "\n  ").encode()
    yield "merged laughs", merges.encode()
    yield "loop", b"a: &a [*a]"
    yield "loop of maps", b"a: &a {b: *a}"
    yield "loop of merges", b"a: &a {<<: *a}"
    yield "unknown alias", b"a: *b"
    yield "deep brackets", b"[" * 100_000
    yield "deep maps", b"{a: " * 5000
    yield "deep blocks", b"".join(b" " * i + b"a:\n" for i in range(600))
    yield "deep lists", b"- " * 5000
    yield "deep questions", b"? " * 5000
    yield "too large", b"# " + b"x" * (1 << 20)
    yield "100000 values", b"a: [" + b"1," * 100_000 + b"]"
    yield "UTF-16", shipped.decode().encode("utf-16")
    yield "BOM", b"\xef\xbb\xbf" + shipped
    yield "Latin-1", b"a: \xe9"
    yield "NUL", b"a: \0"
    yield "tabs", b"\taxes:\n\t\tcorpus: x"
    yield "two documents", b"a: 1\n---\nb: 2\n"
    yield "directive", b"%YAML 9.9\n---\na: 1"
    yield "duplicate keys", b"axes: 1\naxes: 2\n"
    yield "key is a list", b"[a]: 1"
    yield "key is a map", b"? {a: 1}\n: 2"
    yield "long number", b"a: " + b"9" * 100_000
    yield "long hex", b"a: 0x" + b"f" * 100_000
    yield "long sexagesimal", b"a: 1" + b":59" * 50_000
    yield "long float", b"a: 1." + b"9" * 100_000
    for value in (
        "2020-99-99",
        "2020-01-01T99:99:99Z",
        "0000-00-00",
        "1e400",
        ".inf",
        ".nan",
        "0o99",
        "1:99",
        "=",
        "<<",
        "!x",
        "&x",
        "|",
        ">",
        "@",
        "`",
        "%",
    ):
        yield f"value {value}", f"run: {{workers: {value}}}".encode()
    for tag in ("python/object/apply:os.system [touch x]", "python/object/new:subprocess.Popen [[touch, x]]", "python/name:os.system ''",
                "python/module:os ''", "python/object:pianoeval.params.Params {}", "python/tuple [1]", "timestamp x", "int x", "float x", "bool x",
                "binary '*'", "null x", "set {a}", "omap [a: 1]", "pairs [a: 1]", "str 1", "map [a]", "seq {a: 1}"):  # fmt: skip
        yield f"tag {tag}", f"axes: !!{tag}".encode()
    yield "own tag", b"!<tag:example.com,2020:x> {a: 1}"


def _leaves(data: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    for key, value in items:
        yield from _leaves(value, (*place, key))


def params_random(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Each place of ``params.yaml`` with a hostile value, a hostile key or nothing there."""
    rng = random.Random(seed)
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    places = [place for place in _leaves(shipped) if place]
    rng.shuffle(places)
    for i in range(count):
        data = copy.deepcopy(shipped)
        place = places[i % len(places)]
        parent = data
        for key in place[:-1]:
            parent = parent[key]
        how = rng.choice(("value", "value", "value", "key", "drop", "again"))
        if how == "value":
            parent[place[-1]] = rng.choice(VALUES)
        elif how == "key" and isinstance(parent, dict):
            parent[rng.choice(NAMES)] = parent.pop(place[-1])
        elif how == "drop":
            del parent[place[-1]]
        elif isinstance(parent, dict):
            parent[rng.choice(NAMES)] = copy.deepcopy(parent[place[-1]])
        yield f"{how} {'.'.join(map(str, place))}", yaml.safe_dump(data, sort_keys=False).encode()


def json_tricks() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "deep", b"[" * 200_000
    yield "deep objects", b'{"a":' * 200_000
    yield "long number", b"9" * 100_000
    yield "NaN", b"NaN"
    yield "infinity", b'{"a": 1e999}'
    yield "UTF-16", '{"a": 1}'.encode("utf-16")
    yield "Latin-1", b'{"a": "\xe9"}'
    yield "half a pair", b'{"a": "\\ud800"}'
    yield "list", b"[]"
    yield "number", b"5"
    yield "null", b"null"
    yield "text", b'"files"'
    yield "twice", b'{"files": {}, "files": []}'


def json_random(good: Any, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    rng = random.Random(seed)
    text = json.dumps(good).encode()
    places = [place for place in _leaves(good) if place]
    for _ in range(count):
        if rng.random() < 0.4 or not places:
            yield damaged(text, [text], rng)
            continue
        data = copy.deepcopy(good)
        place = rng.choice(places)
        parent = data
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = rng.choice(VALUES)
        yield ".".join(map(str, place)), json.dumps(data).encode()


def archive(name: str, data: bytes, **changes: Any) -> bytes:
    """A zip of one member; ``changes`` are made to its entry in the directory."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(name, data)
    raw = bytearray(stream.getvalue())
    at = raw.rindex(b"PK\x01\x02")
    for field, (offset, size) in {
        "method": (10, 2),
        "packed": (20, 4),
        "size": (24, 4),
        "flags": (8, 2),
        "offset": (42, 4),
        "extra": (30, 2),
    }.items():
        if field in changes:
            raw[at + offset : at + offset + size] = changes[field].to_bytes(size, "little")
    return bytes(raw)


def archive_tricks(name: str) -> Iterator[tuple[str, bytes]]:
    """Zips in which ``name`` is looked for."""
    good = archive(name, b"x" * 1000)
    yield "good", good
    yield "bomb of 520 MB", _bomb(name, 520)
    yield "says 4 GB", archive(name, bytes(1000), size=2**32 - 2)
    yield "says 1 byte", archive(name, bytes(100_000), size=1)
    for method in (1, 6, 9, 12, 14, 93, 97, 99, 65535):
        yield f"method {method}", archive(name, bytes(1000), method=method)
    yield "encrypted", archive(name, bytes(1000), flags=1)
    yield "offset beyond the end", archive(name, bytes(1000), offset=2**31)
    yield "extra of 65535", archive(name, bytes(1000), extra=65535)
    yield "packed 4 GB", archive(name, bytes(1000), packed=2**32 - 2)
    yield "empty", b""
    yield "no zip", b"not a zip" * 100
    yield "cut", good[:-30]
    yield "directory alone", good[good.rindex(b"PK\x01\x02") :]
    yield "quine end", good[:-22] + good[-22:-6] + struct.pack("<I", 2**32 - 1) + b"\0\0"
    yield "not there", archive("other", b"")
    yield "above", archive("../../" + name, b"x")


def _bomb(name: str, megabytes: int) -> bytes:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made,
        made.open(name, "w", force_zip64=True) as member,
    ):
        for _ in range(megabytes):
            member.write(bytes(1 << 20))
    return stream.getvalue()


def archive_random(name: str, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    rng = random.Random(seed)
    good = archive(name, b"x" * 300)
    for _ in range(count):
        data, names = good, []
        for _ in range(rng.choice((1, 2, 4))):
            how, data = damaged(data, [good], rng)
            names.append(how)
        yield "+".join(names), data


def damaged_copies(good: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Copies with one to four changes each."""
    rng = random.Random(seed)
    for _ in range(count):
        data, names = good, []
        for _ in range(rng.choice((1, 2, 4))):
            how, data = damaged(data, [good], rng)
            names.append(how)
        yield "+".join(names), data
