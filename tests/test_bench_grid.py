"""Stars, products, lines."""

from __future__ import annotations

from bench.grid import line, product, star

BASE = {"L": 2, "V": 8, "dtype": "float32"}


def test_a_star_changes_one_number_at_a_time() -> None:
    points = star(BASE, {"L": (1, 2, 3), "V": (8, 9)})
    assert [(p["L"], p["V"]) for p in points] == [(2, 8), (1, 8), (3, 8), (2, 9)]
    assert all(p["dtype"] == "float32" for p in points)


def test_a_product_holds_every_combination_in_the_bases_order() -> None:
    points = product(BASE, {"V": (8, 9), "L": (1, 2, 3)})
    assert {(p["L"], p["V"]) for p in points} == {(L, V) for L in (1, 2, 3) for V in (8, 9)}
    assert len(points) == 6
    assert list(points[0]) == list(BASE)


def test_a_line_is_what_differs_along_one_axis() -> None:
    points = product(BASE, {"V": (8, 9), "L": (1, 2, 3)})
    assert [p["L"] for p in line(points, "L", BASE)] == [1, 2, 3]
