"""evaluate_contrast@corpus: how well heads on frames predict, and how their codes are ordered."""

from pianoeval.evaluate.contrast.corpus import evaluate_contrast_workspace
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str) -> None:
    evaluate_contrast_workspace(CorpusPaths(corpus), load_params())


if __name__ == "__main__":
    run(main)
