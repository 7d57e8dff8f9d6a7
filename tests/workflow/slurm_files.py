"""The files that a Slurm for tests is made of: configuration, keys, and a way to its srun."""

import secrets
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

ACCOUNT = "sharpness"
CPUS, MEMORY_MB = 8, 16000  # of each node, whatever the machine has
# Node -> the model of its GPUs; Slurm wants a device file for each.
NODES = {"node1": "small", "node2": "large"}
GPUS = ("/dev/null", "/dev/zero")

SLURM_CONF = """\
ClusterName=samedge
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={controller}
SlurmdPort={node1}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
PropagatePrioProcess=1
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={database}
AccountingStoragePass={folder}/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
KillWait=20
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=2-00:00:00 State=UP
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus}"
    " RealMemory={memory} Gres=gpu:{model}:{gpus} State=UNKNOWN"
)
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={database}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadb}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_accounting
"""
SRUN = """\
#!/bin/sh
SLURM_CONF={folder}/slurm.conf exec {srun} "$@"
"""
ACCOUNTING_SQL = """\
CREATE USER slurm@'127.0.0.1' IDENTIFIED BY '{password}';
GRANT ALL ON *.* TO slurm@'127.0.0.1';
"""


def write_files(folder: Path, ports: Mapping[str, int]) -> None:
    """Write everything that the daemons read into a folder that is empty.

    Parameters
    ----------
    folder
        Where they and their state will be.
    ports
        A free port of the loopback address for "controller", "database", "mariadb" and each node.
    """
    for name in ("bin", "state", "mysql", *(f"spool.{node}" for node in NODES)):
        (folder / name).mkdir()
    for name in ("munge.key", "slurmdbd.conf", "accounting.sql"):
        (folder / name).touch(mode=0o600)  # before there is a secret in it
    host, password = socket.gethostname(), secrets.token_hex(16)
    same = {"host": host, "cpus": CPUS, "memory": MEMORY_MB, "gpus": len(GPUS)}
    nodes = [
        NODE.format(name=name, port=ports[name], model=model, **same)
        for name, model in NODES.items()
    ]
    values = dict(ports, host=host, folder=folder, password=password, nodes="\n".join(nodes))
    gpus = [
        f"NodeName={name} Name=gpu Type={model} File={','.join(GPUS)}\n"
        for name, model in NODES.items()
    ]
    files = {
        "slurm.conf": SLURM_CONF.format(**values),
        "gres.conf": "".join(gpus),
        "cgroup.conf": "IgnoreSystemd=yes\n",
        "slurmdbd.conf": SLURMDBD_CONF.format(**values),
        "accounting.sql": ACCOUNTING_SQL.format(password=password),
        # Snakemake's plugin takes SLURM_CONF from the environment of srun, which elsewhere finds
        # its configuration under /etc.
        "bin/srun": SRUN.format(folder=folder, srun=shutil.which("srun")),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "bin/srun").chmod(0o755)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
