"""embed@corpus-encoder-instrument: frozen frame-level embeddings of one instrument's audio."""

from pianoeval.cache import ItemCache
from pianoeval.encoders.extract import embed_corpus
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str, encoder: str, instrument: str) -> None:
    paths = CorpusPaths(corpus)
    embed_corpus(
        paths.audio(instrument), encoder, load_params(),
        ItemCache(), paths.embeddings(encoder, instrument),
    )  # fmt: skip


if __name__ == "__main__":
    run(main)
