"""The fixture that the tests of `up` share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.ports import free_ports
from support.up import run


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Return a free address for a broker, with empty folders for state and data; at the end stop a detached cluster."""
    for variable in ("XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    address = f"127.0.0.1:{free_ports(16)}"
    monkeypatch.setenv("PARLOUR_BROKER", address)
    yield address
    run("down")
