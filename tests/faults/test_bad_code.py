"""No file can bring code: what would run some is looked for in the syntax of every module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*(ROOT / "pianoeval").rglob("*.py"), *(ROOT / "stages").rglob("*.py")])

# Names that run what they are given, by the end of the dotted name; and modules that do.
CALLS = {
    "eval", "exec", "compile", "__import__", "execfile", "os.system", "os.popen", "os.execv",
    "os.execvp", "os.spawnv", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load",
    "joblib.load", "dill.load", "cloudpickle.load", "marshal.loads", "marshal.load",
    "shelve.open", "pd.read_pickle", "pandas.read_pickle", "runpy.run_path", "runpy.run_module",
    "torch.hub.load", "code.interact", "imp.load_source", "tarfile.open", "shutil.unpack_archive",
}  # fmt: skip
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "tarfile"}
# The error alone, which torch.load raises; and what starts threads and loads nothing.
HARMLESS = {"UnpicklingError", "Parallel", "delayed", "effective_n_jobs"}
METHODS = {"extractall", "to_pickle", "read_pickle", "from_pickle"}
LOADERS = {"UnsafeLoader", "FullLoader", "Loader", "CLoader", "CUnsafeLoader"}
FORBIDDEN_VALUES = {
    "allow_pickle": True, "trust_remote_code": True, "shell": True, "weights_only": False,
}  # fmt: skip


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def faults(source: str) -> list[str]:
    """What a module holds that could run what a file says."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            found += _call(node)
        elif isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            names = {alias.name for alias in node.names}
            found += sorted(names - HARMLESS)
        elif isinstance(node, ast.Attribute) and dotted(node).startswith("yaml."):
            found += [node.attr] if node.attr in LOADERS else []
    return found


def _call(node: ast.Call) -> list[str]:
    name = dotted(node.func)
    found = [name] if name in CALLS or name.rpartition(".")[2] in METHODS else []
    for keyword in node.keywords:
        if keyword.arg not in FORBIDDEN_VALUES:
            continue
        value = keyword.value
        harmless = (
            isinstance(value, ast.Constant) and value.value is not FORBIDDEN_VALUES[keyword.arg]
        )
        found += [] if harmless else [f"{keyword.arg}= in {name}"]
    if name == "torch.load" and "weights_only" not in [k.arg for k in node.keywords]:
        found.append("torch.load without weights_only")
    if name.endswith("from_pretrained"):
        found.append(f"{name}: it may bring code")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_runs_what_a_file_says(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import joblib", "eval(x)", "exec(text)",
        "yaml.load(x, Loader=y)", "yaml.UnsafeLoader", "np.load(x, allow_pickle=True)",
        "np.load(x, allow_pickle=flag)", "torch.load(x)", "torch.load(x, weights_only=False)",
        "torch.load(x, weights_only=w)", "subprocess.run(x, shell=True)", "os.system(x)",
        "archive.extractall(p)", "AutoModel.from_pretrained(x)", "__import__(name)",
        "x.load(trust_remote_code=True)", "import tarfile", "pd.read_pickle(x)",
    ],
)  # fmt: skip
def test_the_audit_sees(source: str) -> None:
    assert faults(source)


@pytest.mark.parametrize(
    "source",
    ["from pickle import UnpicklingError", "re.compile(x)", "model.eval()", "yaml.safe_load(x)",
     "torch.load(x, weights_only=True)", "np.load(x, allow_pickle=False)", "json.loads(x)",
     "torch.compile(x)"],
)  # fmt: skip
def test_the_audit_lets_pass(source: str) -> None:
    assert faults(source) == []


def test_yaml_of_unknown_origin_has_one_reader() -> None:
    """``yaml.safe_load`` knows no limits; only the module that sets them may parse."""
    for path in FILES:
        if path.name in ("yamlfile.py", "params_edit.py", "joins.py"):  # the last: dvc.lock
            continue
        calls = [
            dotted(node.func) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        ]  # fmt: skip
        assert not {"yaml.safe_load", "yaml.compose", "yaml.parse"} & set(calls), path
