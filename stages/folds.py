"""folds@corpus: which fold tests each clip, for every scheme; a leak stops here."""

from pianoeval.corpora.manifest import read_manifest
from pianoeval.evaluate.leaks import make_audited_folds
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from stages import run


def main(corpus: str) -> None:
    paths = CorpusPaths(corpus)
    folds = make_audited_folds(read_manifest(paths.manifest), load_params().folds)
    folds.to_parquet(paths.folds, index=False)


if __name__ == "__main__":
    run(main)
