"""A line to the operator."""

from __future__ import annotations

import pytest

from parlour.runtime.operator_messages import print_error


def test_a_complaint_is_one_line_that_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a peer has put into the text."""
    print_error("n1 is refused: \x1b[2Jno\nparlour: all is well\u202e")
    assert capsys.readouterr().err == "parlour: n1 is refused: \ufffd[2Jno parlour: all is well\ufffd\n"
