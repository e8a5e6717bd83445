"""contours@corpus: pitch contours (pYIN) of one instrument's audio."""

from pianoeval.audio.pitch import contour_corpus
from pianoeval.cache import ItemCache
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from pianoeval.store import RaggedStore
from stages import run


def main(corpus: str) -> None:
    paths, params = CorpusPaths(corpus), load_params()
    instrument = params.contours.instrument
    audio = RaggedStore(paths.audio(instrument))
    contour_corpus(audio, params, ItemCache(), paths.contours(instrument))


if __name__ == "__main__":
    run(main)
