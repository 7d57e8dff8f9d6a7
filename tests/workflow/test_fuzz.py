"""Configurations and files changed at random: planned or refused by name, nothing else."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "endurance"))

import fuzz


def test_changed_configurations_are_planned_or_refused_by_name():
    counts = fuzz.fuzz_configurations(200, seed=1, say=print, every=50)
    assert counts["refused"] > 50 and counts["planned"] > 10
    assert counts["refused by Snakemake"] and counts["planned by Snakemake"]


def test_damaged_files_are_refused_by_name_or_read_as_they_were():
    counts = fuzz.fuzz_files(100, seed=1, say=print)
    assert counts["data.npz refused"] > 50 and counts["cube.nc refused"] > 50
