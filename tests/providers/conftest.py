"""Each test is a run of Pulumi of its own."""

import pytest

from dynamic_providers import base


@pytest.fixture(autouse=True)
def a_process_of_its_own(monkeypatch):
    """The providers' process remembers what resources of its run stand for."""
    monkeypatch.setattr(base, "_HELD", {})
