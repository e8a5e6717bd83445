"""report: one page for all corpora on the axis, and the headline numbers for ``dvc metrics``."""

import json

from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths, workspace_root
from pianoeval.report import (
    load_corpus_report,
    metrics_summary,
    write_plot_tables,
    write_report,
)
from stages import run


def main() -> None:
    axes, reports = load_params().axes, workspace_root() / "reports"
    corpora = [load_corpus_report(CorpusPaths(name), axes.features) for name in axes.corpus]
    write_report(corpora, reports / "index.html")
    write_plot_tables(corpora, reports / "plots")
    (reports / "metrics.json").write_text(
        json.dumps(metrics_summary(corpora), indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    run(main)
