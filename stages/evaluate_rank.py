"""evaluate_rank@corpus: how well rankers order takes, beside models that predict labels."""

from pianoeval.evaluate.ranked.corpus import evaluate_rank_workspace
from pianoeval.joins import join_ranked
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str) -> None:
    paths, params = CorpusPaths(corpus), load_params()
    join_ranked(paths, params)
    evaluate_rank_workspace(paths, params)


if __name__ == "__main__":
    run(main)
