"""The user's own folders: if there are none, one line says what to set."""

from __future__ import annotations

import pwd

import pytest

from parlour.cli.state import StateFolder
from parlour.runtime.log_urls import default_log
from parlour.wire.errors import ParlourError


def test_no_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user that the system does not list may have no home folder."""

    def nobody(_: int) -> pwd.struct_passwd:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for variable in ("HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ParlourError, match="set HOME, or XDG_STATE_HOME, to a folder of yours"):
        StateFolder("127.0.0.1:6000")
    with pytest.raises(ParlourError, match="set HOME, or XDG_DATA_HOME, to a folder of yours"):
        default_log("127.0.0.1:6000")
