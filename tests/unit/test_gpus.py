"""Every job has a GPU of its own, on a machine whose list of devices is made up."""

import os
import subprocess
import sys

import pytest

from samedge.machine import gpus
from samedge.machine.gpus import devices

THREE = [f"GPU-{number}0000000-aaaa-bbbb-cccc-dddddddddddd" for number in range(3)]
JOB = (
    "import os, sys, time; from samedge.machine.gpus import take_device\n"
    "say = lambda line: print(line, flush=True)\n"
    "take_device(int(sys.argv[1]), say)\n"
    "say(f\"has {os.environ.get('CUDA_VISIBLE_DEVICES')} \"\n"
    "    f\"{os.environ.get('XLA_CLIENT_MEM_FRACTION')}\")\n"
    "time.sleep(600)\n"
)


def listing(identifiers):
    return "".join(
        f"GPU {number}: NVIDIA H100 (UUID: {identifier})\n"
        for number, identifier in enumerate(identifiers)
    )


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return how to give this machine a list of devices, as ``nvidia-smi -L`` prints it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in (gpus.VISIBLE, gpus.MEMORY):
        monkeypatch.delenv(name, raising=False)

    def give(text, code=0):
        command = folder / "nvidia-smi"
        command.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\nexit {code}\n")
        command.chmod(0o755)

    return give


@pytest.fixture
def start():
    """Return how to start a job that takes a device, tells which, and stays."""
    jobs = []

    def begin(slots=1, **environment):
        path = os.pathsep.join(path for path in sys.path if path)
        jobs.append(
            subprocess.Popen(
                [sys.executable, "-c", JOB, str(slots)],
                env=os.environ | {"PYTHONPATH": path} | environment,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return jobs[-1]

    yield begin
    for job in jobs:
        job.kill()
        job.communicate()


def taken(job):
    """Return the device that a job has taken, and its share of the memory."""
    for line in job.stdout:
        if line.startswith("has "):
            return tuple(line.split()[1:])
    raise AssertionError("the job has ended")


def test_devices_are_those_that_the_driver_lists(machine):
    machine(listing(THREE))
    assert devices() == THREE
    partitions = "MIG-11111111-aaaa", "MIG-22222222-aaaa"
    mig = "".join(f"  MIG 1g.10gb Device 0: (UUID: {identifier})\n" for identifier in partitions)
    machine(listing(THREE[:1]) + mig + listing(THREE[1:2]))
    assert devices() == [*partitions, THREE[1]]
    machine("NVIDIA-SMI has failed because it couldn't communicate with the driver.\n", 9)
    assert devices() == []


def test_a_machine_without_gpus_takes_none(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    assert gpus.take_device(1, print) is None
    assert gpus.VISIBLE not in os.environ


def test_three_jobs_have_three_devices_and_the_fourth_waits_for_one(machine, start):
    machine(listing(THREE))
    jobs = [start() for _ in range(3)]
    found = [taken(job)[0] for job in jobs]
    assert sorted(found) == THREE

    fourth = start()
    assert fourth.stdout.readline() == "all 3 slots of 3 GPUs are taken; waiting\n"
    jobs[1].kill()
    assert taken(fourth)[0] == found[1]


def test_a_device_that_a_cluster_has_chosen_is_left_alone(machine, start):
    machine(listing(THREE))
    chosen = [start(CUDA_VISIBLE_DEVICES=value) for value in ("2", "0,1", "2")]
    assert [taken(job)[0] for job in chosen] == ["2", "0,1", "2"]


def test_jobs_that_share_a_device_share_its_memory(machine, start):
    machine(listing(THREE[:2]))
    jobs = [start(slots=2) for _ in range(4)]
    found = [taken(job) for job in jobs]
    assert sorted(device for device, _ in found) == sorted(THREE[:2] * 2)
    assert {share for _, share in found} == {"0.450"}
    own = start(slots=3, XLA_CLIENT_MEM_FRACTION="0.2")
    assert taken(own)[1] == "0.2"
