"""One log for all laws of tampering."""

from __future__ import annotations

import pytest

from tests.consumer.verify.book import Service, live_month


@pytest.fixture(scope="session")
def service() -> Service:
    """A month with several models and every way of leaving."""
    return live_month()
