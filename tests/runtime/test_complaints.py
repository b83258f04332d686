"""A line to the operator."""

from __future__ import annotations

import pytest

from parlour.runtime.complaints import complain


def test_a_complaint_is_one_line_that_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a peer has put into the text."""
    complain("n1 is refused: \x1b[2Jno\nparlour: all is well\u202e")
    assert capsys.readouterr().err == "parlour: n1 is refused: \ufffd[2Jno parlour: all is well\ufffd\n"
