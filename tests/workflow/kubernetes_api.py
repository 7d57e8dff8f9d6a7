"""As much of the API of a Kubernetes cluster as Snakemake's executor asks for, on this machine.

A job that is created is kept for tests to look at, and its container's command is run by bash in a
folder of its own, which stands for the node's empty volume: what the cluster would do, but for the
image and the resources.
"""

import json
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WORKDIR = "/workdir"


class Cluster:
    """Every job that was created, by name, and the processes that run them."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        """Run jobs in folders below ``folder``, with this environment and that of their secret."""
        self.jobs: dict[str, dict] = {}
        self.secrets: dict[str, dict] = {}
        self._folder, self._environment = folder, environment
        self._processes: dict[str, subprocess.Popen] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def address(self) -> str:
        """The URL of the API."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def logs(self) -> str:
        """Return what every job has put out."""
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("*.log")))

    def stop(self) -> None:
        """End the API and what still runs."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for process in self._processes.values():
            process.kill()
            process.wait()

    def create(self, job: dict) -> dict:
        """Keep a job and start its command."""
        name = job["metadata"]["name"]
        self.jobs[name] = job
        (container,) = job["spec"]["template"]["spec"]["containers"]
        folder = self._folder / name
        folder.mkdir(parents=True)
        (shell,), (flag, script) = container["command"], container["args"]
        with (self._folder / f"{name}.log").open("w") as log:
            self._processes[name] = subprocess.Popen(
                [shell, flag, script.replace(WORKDIR, str(folder))],
                cwd=folder,
                env=self._environment | {"HOME": str(folder)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return job

    def status(self, name: str) -> dict:
        """Return a job with how it goes."""
        ended = self._processes[name].poll()
        status = {} if ended is None else {"succeeded": 1} if ended == 0 else {"failed": 1}
        return self.jobs[name] | {"status": status}


def _handler(cluster: Cluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self, content: dict, status: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def content(self) -> dict:
            return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")

        def do_POST(self) -> None:
            content = self.content()
            if self.path.endswith("/secrets"):
                cluster.secrets[content["metadata"]["name"]] = content
                self.answer(content, 201)
            else:
                self.answer(cluster.create(content), 201)

        def do_GET(self) -> None:
            job = re.search(r"/jobs/([^/]+)/status$", self.path)
            if job:
                self.answer(cluster.status(job[1]))
            else:
                self.answer({"kind": "PodList", "apiVersion": "v1", "items": []})

        def do_DELETE(self) -> None:
            self.content()
            self.answer({"kind": "Status", "apiVersion": "v1", "status": "Success"})

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    return Handler


def write_kubeconfig(path: Path, address: str) -> None:
    """Write the file that tells clients of a cluster where its API is."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": address}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "current-context": "here",
    }
    path.write_text(json.dumps(content), encoding="utf-8")
