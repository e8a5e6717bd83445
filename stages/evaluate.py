"""evaluate@corpus: every number, beside its baselines, ceiling and interval."""

from pianoeval.errors import quoted
from pianoeval.evaluate.corpus import evaluate_workspace
from pianoeval.joins import join_predictions
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from pianoeval.sealed import check_listed
from stages import run


def main(corpus: str) -> None:
    paths, params = CorpusPaths(corpus), load_params()
    check_listed(paths.source, None, f"rm -r {quoted(paths.source)} && dvc repro")
    join_predictions(paths, params)
    evaluate_workspace(paths, params)


if __name__ == "__main__":
    run(main)
