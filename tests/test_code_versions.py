"""Nobody forgets CODE_VERSION: the code that decides an item's numbers is recorded with it.

``python tests/test_code_versions.py --accept`` records the code as it is, after CODE_VERSION has
been raised, or where a change (a message, a name) cannot have changed a number.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pianoeval.encoders.registry import KINDS

ROOT = Path(__file__).resolve().parents[1]
RECORD = Path(__file__).with_name("code_versions.json")
ACCEPT = "python tests/test_code_versions.py --accept"


@dataclass(frozen=True)
class Step:
    """A step of the item cache.

    ``version_in`` holds its CODE_VERSION; its numbers are decided there, in ``also``, and in
    every module of the package that these import, ``apart`` from those whose effect is already
    in the item's key or which only carry.
    """

    version_in: str
    also: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()


# Carry, check, name or show; cached inputs are in the key by their digest.
EVERYWHERE_APART = (
    "assets", "atomic", "builder", "cache", "errors", "itemfile", "itemread", "joins", "memory",
    "params", "paths", "progress", "provenance", "quarantine", "rates", "sealed", "shards",
    "soundheader", "steady", "store", "tablefile", "yamlfile", "zarrgroup", "corpora.manifest",
)  # fmt: skip
_ENCODERS = {
    "transkun": "transkun.encoder", "mel": "mel", "muq": "muq.encoder", "mert": "mert.encoder",
    "audiomae": "audiomae.encoder", "dac": "codecs.dac", "jukebox": "codecs.jukebox",
}  # fmt: skip


def _embedding(module: str) -> Step:
    """An encoder and what feeds it, but not the modules of other encoders."""
    apart = ("encoders.registry", "encoders.speed", "encoders.inventory")
    return Step(f"encoders.{module}", also=("encoders.extract",), apart=apart)


STEPS = {
    "audio": Step("audio.render"),
    "contour": Step("audio.pitch"),
    "skyline": Step("audio.skyline", apart=("audio.pitch",)),  # columns alone
    **{f"embedding-{kind}": _embedding(module) for kind, module in _ENCODERS.items()},
    "probe": Step(
        "training.fitted", also=("training.predict",), apart=("features.views", "features.pooling")
    ),
    # Models' parameters and inputs are in the key by the key of the reported fold's predictions.
    "nested": Step("training.nested", apart=("features.views", "features.pooling")),
    "gated": Step("training.gating"),
    "kernel": Step("training.kernels"),
    "rank": Step(
        "training.rank",
        apart=(
            "features.views",
            "features.pooling",
            "rankings",
            "encoders.registry",
            "encoders.speed",
            "encoders.inventory",
        ),
    ),
    "contrast": Step("training.contrast", apart=("features.pooling", "contrasts")),
}


def module_file(name: str) -> Path:
    return ROOT.joinpath("pianoeval", *name.split(".")).with_suffix(".py")


def imported(tree: ast.Module) -> set[str]:
    """Modules of the package that a module imports, without the leading ``pianoeval``."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    own = {name.removeprefix("pianoeval.") for name in found if name.startswith("pianoeval.")}
    return {name for name in own if module_file(name).is_file()}


def parse(name: str) -> ast.Module:
    return ast.parse(module_file(name).read_text(encoding="utf-8"))


def modules(step: Step) -> list[str]:
    """Every module that decides the numbers of a step."""
    apart = {*EVERYWHERE_APART, *step.apart}
    found: set[str] = set()
    waiting = {step.version_in, *step.also}
    while waiting:
        name = waiting.pop()
        if name not in found and name not in apart:
            found.add(name)
            waiting |= imported(parse(name))
    return sorted(found)


def shape(node: Any) -> Any:
    """A syntax tree as nested lists: no docstrings, comments, positions or empty fields.

    Written out, because ``ast.dump`` differs between Python versions.
    """
    if isinstance(node, list):
        return [shape(part) for part in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        fields["body"] = fields["body"][ast.get_docstring(node, clean=False) is not None :]
    kept = [(name, shape(value)) for name, value in fields.items() if value not in (None, [])]
    return [type(node).__name__, *kept]


def is_version(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CODE_VERSION"


def digest(names: list[str]) -> str:
    """SHA-256 over the code of modules, the version itself left out."""
    total = hashlib.sha256()
    for name in names:
        tree = parse(name)
        tree.body = [node for node in tree.body if not is_version(node)]
        total.update(json.dumps([name, shape(tree)]).encode())
    return total.hexdigest()


def code_version(name: str) -> int:
    [assignment] = [node for node in parse(name).body if is_version(node)]
    assert isinstance(assignment, ast.Assign)
    version = ast.literal_eval(assignment.value)
    assert isinstance(version, int)
    return version


def current(step: str) -> dict[str, Any]:
    names = modules(STEPS[step])
    version = code_version(STEPS[step].version_in)
    return {"code_version": version, "digest": digest(names), "modules": names}


def advice(name: str, recorded: dict[str, Any], found: dict[str, Any]) -> str | None:
    """What to do about a step, None if nothing."""
    if recorded == found:
        return None
    if recorded["code_version"] < found["code_version"]:
        return f"CODE_VERSION of step {name} was raised: record that with {ACCEPT}"
    where = module_file(STEPS[name].version_in).relative_to(ROOT).as_posix()
    return (
        f"numbers of step {name} may have changed: raise CODE_VERSION in {where}"
        f" (and then, or if they cannot have, run {ACCEPT})"
    )


def test_every_kind_of_encoder_is_watched() -> None:
    assert set(_ENCODERS) == set(KINDS)


def test_every_code_version_is_watched() -> None:
    package = ROOT / "pianoeval"
    found = {
        ".".join(path.relative_to(package).with_suffix("").parts)
        for path in package.rglob("*.py")
        if "\nCODE_VERSION = " in path.read_text(encoding="utf-8")
    }
    assert found == {step.version_in for step in STEPS.values()}


@pytest.mark.parametrize("step", STEPS)
def test_code_that_decides_numbers_is_as_recorded(step: str) -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert set(record) == set(STEPS)
    found = advice(step, record[step], current(step))
    assert found is None, found


def test_a_step_knows_its_modules() -> None:
    """The guard would be worth nothing if it looked at too few."""
    assert {"audio.render", "audio.synth", "audio.level", "midi.io"} <= set(modules(STEPS["audio"]))
    mel, transkun = modules(STEPS["embedding-mel"]), modules(STEPS["embedding-transkun"])
    assert "encoders.chunking" in mel
    assert "encoders.transkun.net" not in mel
    assert {"encoders.transkun.net", "encoders.chunking"} <= set(transkun)
    probe = set(modules(STEPS["probe"]))
    assert {"models.ridge", "models.mlp", "training.crossval", "evaluate.protocol.splits"} <= probe


def test_prose_is_not_code_and_code_is() -> None:
    def found(text: str) -> Any:
        return shape(ast.parse(text))

    code = found("def f(x):\n    return x + 1\n")
    assert found('"""Module."""\n# why\ndef f(x):\n    """Adds."""\n\n    return (x + 1)') == code
    assert found("def f(x):\n    return x + 2\n") != code
    assert found("def f(y):\n    return y + 1\n") != code
    assert found("x = 'text'\n") != found("x = 'other'\n")


def test_what_to_do_is_said() -> None:
    record = {"code_version": 1, "digest": "a", "modules": []}
    assert advice("audio", record, record) is None
    forgotten = advice("audio", record, record | {"digest": "b"})
    assert forgotten is not None
    assert "raise CODE_VERSION in pianoeval/audio/render.py" in forgotten
    raised = advice("audio", record, record | {"digest": "b", "code_version": 2})
    assert raised is not None
    assert "was raised" in raised


if __name__ == "__main__":
    if sys.argv[1:] != ["--accept"]:
        sys.exit(f"usage: {ACCEPT}")
    text = json.dumps({name: current(name) for name in STEPS}, indent=1)
    RECORD.write_text(text + "\n", encoding="utf-8")
    print(f"recorded in {RECORD.relative_to(ROOT)}")
