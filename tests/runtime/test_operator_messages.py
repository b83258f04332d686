"""Messages for people on standard error."""

from __future__ import annotations

import pytest

from parlour.runtime.operator_messages import print_error


def test_an_error_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a peer put into the text, it is one line without control characters."""
    print_error("n1 is refused: \x1b[2Jno\nparlour: all is well\u202e")
    assert capsys.readouterr().err == "parlour: n1 is refused: \ufffd[2Jno parlour: all is well\ufffd\n"
