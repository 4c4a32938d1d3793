"""Fixtures that several test files share."""

from pathlib import Path

import pytest

REALDATA = Path(__file__).resolve().parents[2] / "shared" / "realdata"


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of a few real APOGEE files; tests that read them are skipped where it is absent."""
    if not REALDATA.is_dir():
        pytest.skip("the real APOGEE files (../shared/realdata) are not here")
    return REALDATA
