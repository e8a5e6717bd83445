"""What the members of a lab start from."""

from __future__ import annotations

import pytest
from lab_cases import Lab, make_origin, publish


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, instrument_assets: None) -> Lab:
    """Results that lie in a remote folder; only to be read."""
    home = tmp_path_factory.mktemp("lab")
    origin = make_origin(home)
    repository = publish(origin, home / "shared.git", str(home / "remote"))
    return Lab(origin, repository, home / "remote")
