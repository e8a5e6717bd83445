"""transfer@target: a target predicted by models that learned from another corpus."""

from pianoeval.cache import ItemCache
from pianoeval.joins import join_predictions
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from pianoeval.transfer.reports import transfer_corpus
from stages import run


def main(target: str) -> None:
    params = load_params()
    join_predictions(CorpusPaths(params.transfer.source), params)
    transfer_corpus(target, params, ItemCache())


if __name__ == "__main__":
    run(main)
