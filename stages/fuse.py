"""fuse@corpus: out-of-fold predictions of several models read as one, by every method."""

from pianoeval.cache import ItemCache
from pianoeval.corpora.manifest import read_labels, read_manifest
from pianoeval.evaluate.protocol.receipt import read_audit
from pianoeval.joins import join_views
from pianoeval.params_file import load_params
from pianoeval.params_fusion import FUSION
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import read_table, write_table
from pianoeval.training.fuse import fuse_corpus
from stages import run


def main(corpus: str) -> None:
    paths, params = CorpusPaths(corpus), load_params()
    read_audit(paths)
    join_views(paths, params)
    table = fuse_corpus(
        params, paths, read_manifest(paths.manifest), read_labels(paths.labels),
        read_table(paths.folds), ItemCache(),
    )  # fmt: skip
    write_table(table, paths.predictions(FUSION))


if __name__ == "__main__":
    run(main)
