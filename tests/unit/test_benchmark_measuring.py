"""Benchmarks' timings take turns, and their results survive being written piece by piece."""

import json

import pytest

from benchmarks.measuring import (
    Timed,
    interleave,
    machine,
    merge_results,
    ratio,
    read_results,
    seconds,
    spread,
    table,
)


def test_every_case_runs_once_in_each_round_and_the_order_turns():
    calls = []
    cases = {name: lambda round_, name=name: calls.append((name, round_)) for name in "abc"}
    interleave(cases, 4, warm_up=False)
    assert calls == [
        *[("a", 0), ("b", 0), ("c", 0)],
        *[("b", 1), ("c", 1), ("a", 1)],
        *[("c", 2), ("a", 2), ("b", 2)],
        *[("a", 3), ("b", 3), ("c", 3)],
    ]


def test_results_come_by_round_and_the_warm_up_is_not_among_them():
    calls = []
    timings = interleave({"double": lambda round_: calls.append(round_) or 2 * round_}, 3)
    assert calls == [0, 0, 1, 2]
    assert [timing.result for timing in timings["double"]] == [0, 2, 4]
    assert all(timing.seconds >= 0 for timing in timings["double"])


def test_no_case_is_no_timing():
    assert interleave({}, 3) == {}


def test_a_ratio_is_taken_within_each_round():
    slow = [Timed(2.0, None), Timed(30.0, None), Timed(4.0, None)]
    fast = [Timed(1.0, None), Timed(10.0, None), Timed(4.0, None)]
    assert ratio(slow, fast) == {"median": 2.0, "min": 1.0, "max": 3.0, "values": [2.0, 3.0, 1.0]}
    assert seconds(slow)["median"] == 4.0
    with pytest.raises(ValueError, match="zip"):
        ratio(slow, fast[:2])


def test_a_spread_is_median_and_extremes():
    found = spread([3, 1, 2, 10])
    assert found == {"median": 2.5, "min": 1.0, "max": 10.0, "values": [3.0, 1.0, 2.0, 10.0]}


def test_merging_replaces_the_entries_named_and_keeps_the_others(tmp_path):
    path = tmp_path / "results" / "part.json"
    assert read_results(path) == {}
    merge_results(path, {"a": {"old": 1}, "b": 2})
    assert merge_results(path, {"a": {"new": 3}}) == {"a": {"new": 3}, "b": 2}
    assert json.loads(path.read_text()) == {"a": {"new": 3}, "b": 2}
    assert [entry.name for entry in path.parent.iterdir()] == ["part.json"]


def test_a_result_that_json_cannot_hold_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "part.json"
    merge_results(path, {"a": 1})
    with pytest.raises(TypeError):
        merge_results(path, {"b": object()})
    assert read_results(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["part.json"]


def test_a_machine_is_described_by_what_timings_depend_on():
    found = machine(["numpy"])
    assert found["cores"] >= 1
    assert found["processor"]
    assert found["versions"].keys() == {"numpy"}


def test_a_table_aligns_the_first_column_left_and_the_others_right():
    assert table([("solver", "n"), ("a", "10"), ("longer", "5")]).splitlines() == [
        "solver   n",
        "----------",
        "a       10",
        "longer   5",
    ]
