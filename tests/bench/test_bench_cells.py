"""The cells are those of the documentation, and the generator gets all their fields."""

from __future__ import annotations

from bench.cell import SIDE_BY_SIDE, Cell


def test_the_grid_is_whole() -> None:
    """Each size has few and all senders, each with one post on the way and with sixteen; no cell comes twice."""
    closed = {(cell.members, cell.senders, cell.window) for cell in SIDE_BY_SIDE if not cell.paced and cell.rooms == 1}
    sizes = {(n, s) for n in (10, 100, 1000) for s in (min(10, n), n)}
    assert closed == {(n, s, w) for n, s in sizes for w in (1, 16)}
    assert len(set(SIDE_BY_SIDE)) == len(SIDE_BY_SIDE)


def test_paced_cells_are_equal() -> None:
    """Both paced cells make 20,000 deliveries a second."""
    assert [cell.rate * cell.members for cell in SIDE_BY_SIDE if cell.paced] == [20_000, 20_000]


def test_a_cell_is_its_arguments() -> None:
    """The generator gets every field by name."""
    assert Cell(10, 5, 2).arguments() == ["members=10", "senders=5", "window=2", "rate=0", "rooms=1"]


def test_a_round() -> None:
    """A round counts every delivery of all posts that may be on the way."""
    assert Cell(100, 10, 16).round_deliveries == 16_000
    assert Cell(10, 10, 1, rooms=200).round_deliveries == 20_000
    assert Cell(100, 100, rate=200).round_deliveries == 0
