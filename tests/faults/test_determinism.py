"""The same inputs give the same bytes: elsewhere, later, on more cores, after an interruption."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from finished import STAGES, Finished
from levels import FULL, record, scale
from threadpoolctl import threadpool_info, threadpool_limits
from workspaces import ROOT, make_cache, make_workspace, small_params

from pianoeval.compare import paired
from pianoeval.compare.findings import compare_runs
from pianoeval.evaluate import corpus
from pianoeval.evaluate.contrast import corpus as contrast_evaluation
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.evaluate.ranked import corpus as ranked_corpus
from pianoeval.params import BoostingParams, FoldParams, MlpParams, ModelName, TreeParams
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import sha256_file
from pianoeval.store import RaggedStore
from pianoeval.training import contrast as training_contrast
from pianoeval.training import final, relabel
from pianoeval.training import rank as training_rank
from pianoeval.training.crossval import nested_cross_validation
from stages import contrast, evaluate, evaluate_contrast, evaluate_rank, probe, rank
from tests.training.study_cases import make_manifest, make_study

HERE = Path(__file__).parent
LEVEL = "determinism"
ELSEWHERE = {
    "PYTHONPATH": os.pathsep.join([str(HERE / "elsewhere"), str(ROOT)]),
    "PYTHONHASHSEED": "4242", "TZ": "Pacific/Kiritimati",
    # ASCII, if Python may not help itself: whoever opens text without an encoding is found out.
    "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0",
}  # fmt: skip
MANY_THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "3"
)
_RUN = """
import importlib
for call in {calls!r}:
    importlib.import_module("stages." + call[0]).main(*call[1:])
"""


def run_stages(
    made: Finished, variables: Mapping[str, str] | None = None, calls: object = STAGES
) -> None:
    """Stages in one process, with other variables than ``finished`` had."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN.format(calls=calls)], cwd=made.workspace,
        env=made.environment() | dict(variables or {}), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def outputs(made: Finished) -> dict[str, str]:
    """SHA-256 of every file that stages wrote, by its path in the workspace."""
    return {
        path.relative_to(made.workspace).as_posix(): sha256_file(path)
        for folder in ("data", "reports")
        for path in sorted((made.workspace / folder).rglob("*"))
        if path.is_file()
    }


def items(made: Finished) -> dict[str, str]:
    """SHA-256 of every item of the cache."""
    root = made.cache / "items"
    return {
        path.relative_to(root).as_posix(): sha256_file(path)
        for path in sorted(root.rglob("*.safetensors"))
    }


def differing(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    """Names that one lacks, or whose bytes differ."""
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def reordered(block: Any) -> Any:
    """The same parameters with every block's lines the other way round."""
    if not isinstance(block, dict):
        return block
    return {name: reordered(block[name]) for name in reversed(block)}


def fresh(folder: Path, workers: int, *, reorder: bool = False) -> Finished:
    """A workspace in which nothing has run, and an empty cache."""
    data = small_params()
    data["run"] |= {"workers": workers}
    if reorder:
        data = reordered(data)
    return Finished(make_workspace(folder / "workspace", data), make_cache(folder / "cache"))


def assert_same(made: Finished, reference: Finished, claim: str, **figures: int | str) -> None:
    """Every output and item has the bytes of the reference."""
    found, expected = outputs(made), outputs(reference)
    cached, wanted = items(made), items(reference)
    wrong = differing(found, expected) + differing(cached, wanted)
    record(LEVEL, claim, files=len(found), items=len(cached), differing=len(wrong), **figures)
    assert wrong == []
    kinds = {name.split("/")[2] for name in found if name.startswith("data/studio/")}
    assert {
        "audio",
        "contours",
        "embeddings",
        "features",
        "predictions",
        "ranks",
        "contrast",
    } <= kinds
    steps = {"audio", "contour", "skyline", "embedding-mel", "probe", "rank", "contrast"}
    assert {name.split("/")[0] for name in cached} == steps


# One thing at a time in the thorough version, so that a difference names its cause.
_ALL_AT_ONCE = (
    "2 processes, 3 threads a library; other hashes, clock, time zone, locale, host, order of files"
    " and of parameters"
)
VARIATIONS: dict[str, tuple[int, dict[str, str]]] = {
    _ALL_AT_ONCE: (2, ELSEWHERE | MANY_THREADS),
    "1 process, again": (1, {}),
    "2 processes": (2, {}),
    "3 threads a library": (1, MANY_THREADS),
    "another order of hashes": (1, {"PYTHONHASHSEED": "7"}),
    "another clock, host and order of files": (1, {"PYTHONPATH": ELSEWHERE["PYTHONPATH"]}),
    "another time zone and locale": (
        1, {name: ELSEWHERE[name] for name in ("TZ", "LC_ALL", "PYTHONCOERCECLOCALE", "PYTHONUTF8")}
    ),
}  # fmt: skip


@pytest.mark.parametrize("claim", list(VARIATIONS)[: scale(1, len(VARIATIONS))])
def test_every_byte_is_the_same(finished: Finished, tmp_path: Path, claim: str) -> None:
    """All stages from nothing: stores, tables, metrics, the page, and every cached item."""
    workers, variables = VARIATIONS[claim]
    made = fresh(tmp_path, workers, reorder=claim == _ALL_AT_ONCE)
    run_stages(made, variables)
    assert_same(made, finished, claim)


@pytest.mark.skipif(not FULL, reason="make faults; test_kill goes on after each kill as well")
def test_work_that_goes_on_from_half_of_the_items(finished: Finished, tmp_path: Path) -> None:
    """After an interruption, or beside a lab mate: some items are there, stores and tables not."""
    made = finished.copy(tmp_path)
    found = sorted((made.cache / "items").rglob("*.safetensors"))
    for path in found[::2]:
        path.unlink()
    shutil.rmtree(made.workspace / "data")
    shutil.rmtree(made.workspace / "reports")
    run_stages(made)
    claim = "half of the items cached, half computed"
    assert_same(made, finished, claim, removed=len(found[::2]))


@pytest.mark.skipif(not FULL, reason="make faults; tests/cluster compares stores of toy encoders")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_cluster_writes_the_items_of_a_single_process(
    finished: Finished, tmp_path: Path, workers: int
) -> None:
    """Embeddings by Dask workers, then the stages behind them."""
    made = finished.copy(tmp_path)
    shutil.rmtree(made.cache / "items" / "embedding-mel")
    shutil.rmtree(made.workspace / "data" / "studio" / "embeddings")
    command = ["embed", "studio", "--cluster", "local", "--workers", str(workers)]
    done = subprocess.run(
        [Path(sys.executable).with_name("pianoeval"), *command], cwd=made.workspace,
        env=made.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((made.cache / "items" / "embedding-mel").rglob("*.safetensors"))) == 18
    run_stages(made, calls=[call for call in STAGES if call[0] in ("embed", "pool")])
    assert_same(made, finished, f"{workers} Dask workers")


# Threads -----------------------------------------------------------------------------------------


def blas_threads() -> set[int]:
    return {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}


def test_training_and_evaluation_use_one_thread(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums are divided among threads, so their number would be in the last bits."""
    made = finished.copy(tmp_path)
    for step in ("probe", "rank", "contrast"):
        shutil.rmtree(made.cache / "items" / step)
    monkeypatch.chdir(made.workspace)
    monkeypatch.setenv("PIANOEVAL_CACHE", str(made.cache))
    seen: dict[str, set[int]] = {}

    def watch(module: ModuleType, name: str) -> None:
        inner = getattr(module, name)

        def watched(*given: Any, **named: Any) -> Any:
            seen.setdefault(f"{module.__name__}.{name}", set()).update(blas_threads())
            return inner(*given, **named)

        monkeypatch.setattr(module, name, watched)

    for module, name in (
        (relabel, "make_scheme"), (corpus, "evaluate_state"), (corpus, "diagnostics"),
        (corpus, "comparisons"), (paired, "draw_counts"), (final, "fit_ridge"),
        (training_rank, "_train"), (ranked_corpus, "judge"), (ranked_corpus, "disentanglement"),
        (training_contrast, "train_heads"), (contrast_evaluation, "judge"),
        (contrast_evaluation, "analyse_codes"),
    ):  # fmt: skip
        watch(module, name)
    with threadpool_limits(3, user_api="blas"):
        assert blas_threads() == {3}
        probe.main("studio", "symbolic")
        rank.main("studio")
        contrast.main("studio")
        evaluate.main("studio")
        evaluate_rank.main("studio")
        evaluate_contrast.main("studio")
        compare_runs(".:symbolic/ridge", ".:mel/ridge")
        final.train_final(CorpusPaths("studio"), load_params(), "symbolic", "ridge")
        assert blas_threads() == {3}  # what the caller had is given back
    record(LEVEL, "threads of linear algebra where numbers are made", places=len(seen), threads=1)
    assert set().union(*seen.values()) == {1}
    assert len(seen) == 12


# Order -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(scale(1, 5)))
def test_the_order_of_the_clips_changes_nothing(seed: int) -> None:
    """Rows of the manifest and of the features in another order: equal folds and predictions."""
    manifest = make_manifest()
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(len(manifest), 30)), random.normal(size=(len(manifest), 2))
    small = {"n_estimators": 5, "pca_above": 20, "pca_components": 8}
    probes = {
        "mlp": MlpParams(max_epochs=3, hidden=8), "extra_trees": TreeParams(**small),
        "boosting": BoostingParams(**small),
    }  # fmt: skip
    names: list[ModelName] = ["ridge", "mlp", "extra_trees", "boosting"]

    def predicted(order: np.ndarray) -> pd.DataFrame:
        moved = manifest.iloc[order].reset_index(drop=True)
        study = make_study(moved, x[order], y[order])
        study = replace(study, probe=study.probe.model_copy(update=probes))
        folds = make_folds(moved, FoldParams(schemes=["content", "player"]))
        return nested_cross_validation(study, folds, names, "toy").predictions

    first = predicted(np.arange(len(manifest)))
    other = predicted(random.permutation(len(manifest)))
    record(LEVEL, "clips of the manifest in another order", predictions=len(first), differing=0)
    pd.testing.assert_frame_equal(first, other, check_exact=True)


# Other processors --------------------------------------------------------------------------------

OLDER = {
    "OPENBLAS_CORETYPE": "Nehalem", "MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL",
}  # fmt: skip


@pytest.mark.skipif(not FULL, reason="make faults: all stages with the instructions of 2008")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions of x86-64 are chosen")
def test_older_processors_differ_within_the_documented_tolerance(
    finished: Finished, tmp_path: Path
) -> None:
    """Without the instructions of newer ones; docs/service-levels.md names the bounds."""
    made = fresh(tmp_path, 1)
    run_stages(made, OLDER)
    frames, clips = 0.0, 0
    stores = [
        RaggedStore(home.workspace / "data" / "studio" / "embeddings" / "mel" / "grand.zarr")
        for home in (finished, made)
    ]
    for clip in stores[0].clips:
        one, other = (store.frames(clip).astype(np.float64) for store in stores)
        frames = max(frames, float(np.abs(one - other).max() / np.abs(one).max()))
        clips += 1
    key = ["scheme", "subset", "features", "model", "dimension", "metric"]
    tables = [
        pd.read_csv(home.workspace / "reports" / "studio" / "results.csv").set_index(key)["value"]
        for home in (finished, made)
    ]
    pair = pd.concat(tables, axis=1, keys=["one", "other"])
    assert len(pair) == len(tables[0]) == len(tables[1])
    apart = (pair["one"] - pair["other"]).abs() / pair["one"].abs().clip(lower=1.0)
    view = pair.index.get_level_values("features")
    # Controls and curves of this tiny corpus learn from three clips and magnify any difference.
    largest = {name: float(apart[view == name].max()) for name in ("symbolic", "mel")}
    record(
        LEVEL, "all stages with the instructions of an older processor", clips=clips,
        metrics=int(np.isin(view, list(largest)).sum()),
        largest_frame_difference=float(f"{frames:.2g}"),
        largest_metric_difference_symbolic=float(f"{largest['symbolic']:.2g}"),
        largest_metric_difference_mel=float(f"{largest['mel']:.2g}"),
    )  # fmt: skip
    assert frames <= 1e-3
    assert largest["symbolic"] <= 1e-4
    assert largest["mel"] <= 0.1  # 12 clips to learn from, of 512 features each
