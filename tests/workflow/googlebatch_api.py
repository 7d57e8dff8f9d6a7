"""Snakemake with a stand-in for Google Batch: every job is kept in a file, then counts as failed.

    python googlebatch_api.py JOBS GIVEN SNAKEMAKE-ARGUMENT…

JOBS gets a line of JSON for each job that is submitted. Results are on a stand-in for Google's
object storage, in this process, where GIVEN is there at the beginning.
"""

import json
import os
import socket
import sys
from pathlib import Path

import snakemake_executor_plugin_googlebatch.executor as plugin
from gcp_storage_emulator.server import create_server
from google.cloud import batch_v1, storage
from snakemake.cli import main

BUCKET = "edge"


class Service:
    """What the plugin calls of Google Batch's client."""

    jobs: Path

    def create_job(self, request: batch_v1.CreateJobRequest) -> batch_v1.Job:
        """Keep the job."""
        content = batch_v1.CreateJobRequest.to_dict(request, use_integers_for_enums=False)
        with self.jobs.open("a", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")
        return batch_v1.Job(name=f"{request.parent}/jobs/{request.job_id}")

    def get_job(self, request: batch_v1.GetJobRequest) -> batch_v1.Job:
        """Say that it failed."""
        failed = batch_v1.JobStatus(state=batch_v1.JobStatus.State.FAILED)
        return batch_v1.Job(name=request.name, status=failed)


def run(jobs: Path, given: str, arguments: list[str]) -> None:
    """Run Snakemake with both stand-ins; ``given`` is a result that is taken to be there."""
    Service.jobs = jobs
    plugin.batch_v1.BatchServiceClient = Service
    # Logs of jobs are with Google, too.
    plugin.GoogleBatchExecutor.save_finished_job_logs = lambda self, job: None
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    os.environ |= {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}", "NO_PROXY": "127.0.0.1"}
    os.environ |= {"GOOGLE_CLOUD_PROJECT": "my-project"}
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    server.start()
    try:
        storage.Client().bucket(BUCKET).blob(given).upload_from_string("")
        main(arguments)
    finally:
        server.stop()


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
