"""evaluate@corpus: every number, beside its baselines, ceiling and interval."""

from pianoeval.evaluate.corpus import evaluate_workspace
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str) -> None:
    evaluate_workspace(CorpusPaths(corpus), load_params())


if __name__ == "__main__":
    run(main)
