"""probe@corpus-features: out-of-fold predictions of every view of one source of features."""

import pandas as pd

from pianoeval.cache import ItemCache
from pianoeval.corpora.manifest import read_labels, read_manifest, read_table
from pianoeval.evaluate.protocol.receipt import read_audit
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from pianoeval.training.predict import predict_features
from stages import run


def main(corpus: str, features: str) -> None:
    paths = CorpusPaths(corpus)
    read_audit(paths)
    table: pd.DataFrame = predict_features(
        features, load_params(), paths, read_manifest(paths.manifest), read_labels(paths.labels),
        read_table(paths.folds), ItemCache(),
    )  # fmt: skip
    paths.predictions(features).parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(paths.predictions(features), index=False)


if __name__ == "__main__":
    run(main)
