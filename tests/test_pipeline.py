"""The DAG says what the code does: deps name what a stage imports, files stay small."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

# A change in these never changes a number: they carry, check, name or show.
PLUMBING = {
    "pianoeval/__init__.py", "pianoeval/assets.py", "pianoeval/atomic.py", "pianoeval/builder.py",
    "pianoeval/cache.py", "pianoeval/itemfile.py",
    "pianoeval/corpora/manifest.py", "pianoeval/errors.py", "pianoeval/joins.py",
    "pianoeval/params.py", "pianoeval/params_block.py", "pianoeval/params_encoders.py",
    "pianoeval/params_file.py", "pianoeval/params_fusion.py", "pianoeval/params_probe.py",
    "pianoeval/params_rank.py", "pianoeval/rankings.py",
    "pianoeval/params_contrast.py", "pianoeval/contrasts.py",
    "pianoeval/paths.py",
    "pianoeval/progress.py",
    "pianoeval/provenance.py",
    "pianoeval/quarantine.py", "pianoeval/rates.py", "pianoeval/sealed.py", "pianoeval/steady.py",
    "pianoeval/soundheader.py",
    "pianoeval/tablefile.py", "pianoeval/yamlfile.py", "stages/__init__.py",
}  # fmt: skip


def local_files(module: str) -> list[Path]:
    base = ROOT.joinpath(*module.split("."))
    return [path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("pianoeval", "stages")}


def is_prose(path: Path) -> bool:
    """Only a docstring: the ``__init__.py`` of most folders."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return all(isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) for n in body)


def closure(path: Path, seen: set[str]) -> set[str]:
    name = path.relative_to(ROOT).as_posix()
    if name in seen or name in PLUMBING or is_prose(path):
        return seen
    seen.add(name)
    for module in imports(path):
        for found in local_files(module):
            closure(found, seen)
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_every_module_it_imports(stage: str) -> None:
    declared = STAGES[stage]["deps"]
    needed = closure(ROOT / "stages" / f"{stage}.py", set())
    missing = {
        name for name in needed
        if not any(name == dep or name.startswith(f"{dep}/") for dep in declared)
    }  # fmt: skip
    assert not missing, f"add to the deps of '{stage}' in dvc.yaml: {sorted(missing)}"


@pytest.mark.parametrize("stage", STAGES)
def test_declared_modules_exist_and_the_whole_package_is_no_dep(stage: str) -> None:
    for dep in STAGES[stage]["deps"]:
        assert dep.rstrip("/") != "pianoeval"
        if dep.startswith(("stages/", "pianoeval/")):
            assert (ROOT / dep).exists(), dep


def test_stages_run_the_file_of_their_name() -> None:
    for name, stage in STAGES.items():
        assert re.match(rf"python -m stages\.{name}\b", stage["cmd"])


def tracked(*patterns: str) -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [ROOT / line for line in done.stdout.splitlines()]
    assert files, "no files matched"
    return [path for path in files if path.exists()]


@pytest.mark.parametrize(("pattern", "limit"), [("pianoeval/**/*.py", 300), ("stages/*.py", 60)])
def test_modules_stay_small(pattern: str, limit: int) -> None:
    long = [p.name for p in tracked(f":(glob){pattern}") if len(p.read_text().splitlines()) > limit]
    assert not long


def test_nothing_unpickles_or_runs_foreign_code() -> None:
    forbidden = re.compile(
        r"pickle\.|joblib\.load|yaml\.load\(|trust_remote_code|shell=True|allow_pickle=True"
        r"|weights_only=False|(?<!\.)\beval\(|\bexec\(|os\.system"
    )
    for path in tracked("pianoeval", "stages"):
        if path.suffix == ".py":
            assert not forbidden.search(path.read_text(encoding="utf-8")), path


def test_no_machine_path_in_any_file() -> None:
    machine = re.compile(r"(?<!\w)/(work|tmp|root|home)/\w")
    for path in tracked("*.py", "*.md", "*.yaml", "*.toml", "Makefile", ".ci/run"):
        if path != Path(__file__):
            assert not machine.search(path.read_text(encoding="utf-8")), path
