"""What all tests of the Windows side share."""

from pathlib import Path

import pytest

from backstay.testing.wine import Unavailable, Wine

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wine() -> Wine:
    """A Windows Python under wine, kept in the checkout from run to run."""
    try:
        return Wine(CHECKOUT / ".wine")
    except Unavailable as reason:
        pytest.skip(str(reason))
