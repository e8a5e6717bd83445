"""pool@corpus-encoder-instrument: statistics over the frames of each clip, all layers kept."""

from pianoeval.features.pooling import pool_store
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from pianoeval.store import RaggedStore
from stages import run


def main(corpus: str, encoder: str, instrument: str) -> None:
    paths = CorpusPaths(corpus)
    store = RaggedStore(paths.embeddings(encoder, instrument))
    pool = load_params().pool
    pool_store(store, pool.stats, paths.pooled(encoder, instrument), pool.sequence_hz)


if __name__ == "__main__":
    run(main)
