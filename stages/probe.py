"""probe@corpus-features: out-of-fold predictions of every view of one source of features."""

from pianoeval.cache import ItemCache
from pianoeval.corpora.manifest import read_labels, read_manifest
from pianoeval.evaluate.protocol.receipt import read_audit
from pianoeval.joins import join_features
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import read_table, write_table
from pianoeval.training.predict import predict_features
from stages import run


def main(corpus: str, features: str) -> None:
    paths = CorpusPaths(corpus)
    params = load_params()
    read_audit(paths)
    join_features(paths, params, features)
    table = predict_features(
        features, params, paths, read_manifest(paths.manifest), read_labels(paths.labels),
        read_table(paths.folds), ItemCache(),
    )  # fmt: skip
    write_table(table, paths.predictions(features))


if __name__ == "__main__":
    run(main)
