"""What is told of the default experiment's rounds."""

import pytest

from benchmarks.experiment import report, summary


def entry(total, products):
    return {
        "total_seconds": total,
        "training_and_measuring_seconds": total / 2,
        "share": 0.5,
        "products_per_check": {"mnist": products},
        "rules": {"train_run": {"jobs": 18, "seconds": total - 10}},
    }


def test_the_round_of_median_total_stands_for_a_revision_and_ratios_are_within_rounds():
    found = summary(
        {
            "now": [entry(200.0, 30.0), entry(300.0, 31.0), entry(100.0, 32.0)],
            "before": [entry(400.0, 45.0), entry(400.0, 45.0), entry(400.0, 45.0)],
        }
    )
    assert found["now"]["total_seconds"] == 200
    assert found["now"]["products_per_check"] == {"mnist": 30}
    assert found["now"]["over_before"] == {
        "median": 0.5,
        "min": 0.25,
        "max": 0.75,
        "values": pytest.approx([0.5, 0.75, 0.25]),
    }
    text = report("now", found["now"])
    assert "now: 200 s in all (100–300), of which 100 s training and measuring" in text
    assert text.endswith("products a check, mnist: 30.0\nover before: 0.50 (0.25–0.75)")
