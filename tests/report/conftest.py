from __future__ import annotations

from pathlib import Path

import pytest
from report_cases import make_report

from pianoeval.report import CorpusReport, write_report


@pytest.fixture(scope="session")
def percepiano() -> CorpusReport:
    return make_report()


@pytest.fixture(scope="session")
def studio() -> CorpusReport:
    return make_report("studio", n_clips=144, shift=0.1, simulated=True)


@pytest.fixture(scope="session")
def page_path(
    studio: CorpusReport, percepiano: CorpusReport, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("report") / "index.html"
    write_report([studio, percepiano], path)
    return path


@pytest.fixture(scope="session")
def page(page_path: Path) -> str:
    return page_path.read_text(encoding="utf-8")
