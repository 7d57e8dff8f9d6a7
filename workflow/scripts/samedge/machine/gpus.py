"""Which GPU of this machine is a job's own.

Snakemake counts GPUs and does not say which is whose. So each job takes the lock of one slot of
one device and keeps it until its process ends, however it ends. The locks lie in the machine's
folder for temporary files, so that workflows in different folders share out the same devices.
"""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from samedge.base.files import take_lock
from samedge.machine.signals import raise_if_signalled

VISIBLE = "CUDA_VISIBLE_DEVICES"
MEMORY = "XLA_CLIENT_MEM_FRACTION"
MEMORY_SHARED = 0.9  # of a device's memory, by all its jobs together; the driver needs some too
SECONDS_BETWEEN_TRIES = 1.0

# Open files whose locks this process holds until it ends.
_held: list[BinaryIO] = []


def devices() -> list[str]:
    """Return the identifiers of this machine's GPUs, none if it has none.

    A GPU that is partitioned (MIG) counts as its partitions.
    """
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    found: list[str] = []
    for identifier in re.findall(r"UUID: ((?:GPU|MIG)-[\w/-]+)", listed):
        if identifier.startswith("MIG") and found and found[-1].startswith("GPU"):
            found.pop()  # the device whose first partition this is
        found.append(identifier)
    return found


def take_device(jobs: int, report: Callable[[str], None]) -> str | None:
    """Take a slot of a GPU for this process, and let it see that device alone.

    A ``CUDA_VISIBLE_DEVICES`` that is set, as clusters do, is left alone, and so is a machine
    without GPUs. Where every slot is taken, the first to be freed is waited for.

    Parameters
    ----------
    jobs
        Slots of each device. With more than one, each takes its share of the device's memory,
        unless ``XLA_CLIENT_MEM_FRACTION`` is set.
    report
        Called with a line about what was taken or is waited for.

    Returns
    -------
    The device's identifier, None if none was taken.
    """
    if VISIBLE in os.environ:
        return None
    found = devices()
    if not found:
        return None
    waiting = False
    while True:
        device = _free(found, jobs)
        if device is not None:
            break
        if not waiting:
            report(f"all {jobs * len(found)} slots of {len(found)} GPUs are taken; waiting")
            waiting = True
        time.sleep(SECONDS_BETWEEN_TRIES)
        raise_if_signalled()
    os.environ[VISIBLE] = device
    if jobs > 1:
        os.environ.setdefault(MEMORY, f"{MEMORY_SHARED / jobs:.3f}")
    report(f"on the GPU {device}")
    return device


def _free(found: Sequence[str], jobs: int) -> str | None:
    """Take the first slot that is free, the emptier devices first; None if all are taken."""
    for slot in range(jobs):
        for device in found:
            file = _open(device, slot)
            if take_lock(file):
                _held.append(file)
                return device
            file.close()
    return None


def _open(device: str, slot: int) -> BinaryIO:
    """Open the lock of a slot, which every user of the machine may read, and so lock."""
    folder = Path(tempfile.gettempdir()) / "samedge-gpus"
    folder.mkdir(exist_ok=True)
    if folder.stat().st_uid == os.getuid():
        folder.chmod(0o1777)
    path = folder / f"{device.replace('/', '_')}.{slot}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        descriptor = os.open(path, os.O_RDONLY)
    return os.fdopen(descriptor, "rb")
