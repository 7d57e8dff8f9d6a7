"""A server of the S3 protocol on this machine, and Snakemake with its results on it."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUCKET = "edge"
KEY = "made-up"
#: What tells Snakemake to keep results there.
OPTIONS = ("--default-storage-provider", "s3", "--default-storage-prefix", f"s3://{BUCKET}")


@contextmanager
def object_store(folder: Path) -> Iterator[str]:
    """Yield the address of an empty object store on the loopback interface; its log is there."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(600):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def credentials(endpoint: str) -> dict[str, str]:
    """Return the environment variables by which Snakemake finds the store and its keys."""
    return {
        "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": endpoint,
        "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": KEY,
        "SNAKEMAKE_STORAGE_S3_SECRET_KEY": KEY,
        "NO_PROXY": "127.0.0.1",
    }


def bucket(endpoint: str):
    """Return the bucket in which results are to be."""
    import boto3

    store = boto3.resource(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=KEY,
    )
    return store.Bucket(BUCKET)
