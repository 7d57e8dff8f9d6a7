"""Compiled programs: kept in a folder that jobs share, and counted.

JAX writes an entry of its compilation cache in place and never replaces one, so a job that is
killed while writing leaves a broken entry for good, and one that reads too early meets half an
entry. Here each job has a folder of its own for JAX to work in. It is filled from the shared one
when the job starts; what the job compiles is handed over under a name that holds its checksum,
by renaming. So nobody ever sees a part of an entry, and a damaged one is noticed and dropped.
"""

import hashlib
import platform
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from samedge.base.files import whole_file

# Events of jax.monitoring. The first is recorded for every program, found in the cache or not.
PROGRAM_READY = "/jax/core/compile/backend_compile_duration"
PROGRAM_FOUND = "/jax/compilation_cache/cache_hits"
PREPARATIONS = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    PROGRAM_READY,
)

PROCESSOR_FACTS = Path("/proc/cpuinfo")
ZLIB = b"\x78"  # the first byte of what zlib has compressed
INSTRUCTION_SETS = ("flags", "Features")  # the line's name on x86 and on ARM


@dataclass
class ProgramCount:
    """How many programs this process has needed and found in the cache, and the time it took."""

    needed: int = 0
    found: int = 0
    _spans: list[tuple[float, float]] = field(default_factory=list)

    @property
    def compiled(self) -> int:
        """The programs that were not in the cache."""
        return self.needed - self.found

    @property
    def seconds(self) -> float:
        """The time (s) spent tracing programs and compiling or loading them."""
        return sum(end - start for start, end in self._spans)

    def spent(self, seconds: float) -> None:
        """Count time that ends now, once: it may enclose what has been counted before."""
        end = time.perf_counter()
        while self._spans and self._spans[-1][0] >= end - seconds:
            self._spans.pop()
        self._spans.append((end - seconds, end))

    def __str__(self) -> str:
        return (
            f"{self.compiled} programs compiled, {self.found} from the cache, ready in "
            f"{self.seconds:.1f} s"
        )


def count_programs() -> ProgramCount:
    """Return a count that goes on counting the programs that XLA compiles or JAX loads."""
    count = ProgramCount()

    def ready(event: str, duration_secs: float, **_: str | int) -> None:
        count.needed += event == PROGRAM_READY
        if event in PREPARATIONS:
            count.spent(duration_secs)

    def found(event: str, **_: object) -> None:
        count.found += event == PROGRAM_FOUND

    jax.monitoring.register_event_duration_secs_listener(ready)
    jax.monitoring.register_event_listener(found)
    return count


@contextmanager
def shared_programs(
    folder: Path | None, report: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Keep compiled programs in ``folder``, shared with other jobs, while the context lasts.

    Parameters
    ----------
    folder
        Made if it is not there; None keeps nothing. Its programs are run as they are, so it must
        be in trusted hands.
    report
        Called with a line of text when an entry is damaged or the folder cannot be used, neither
        of which ends the job.

    Yields
    ------
    A function that hands over what has been compiled so far, so that a job which starts
    meanwhile finds it; leaving the context does that too.
    """
    if folder is None:
        yield lambda: None
        return
    with tempfile.TemporaryDirectory(prefix="samedge-programs-") as own:
        shared = _Shared(folder / machine_key(), Path(own), report)
        shared.load()
        _keep_programs_in(own)
        try:
            yield shared.publish
        finally:
            shared.publish()
            _keep_programs_in(None)


def machine_key() -> str:
    """Name what a program on disk depends on and its key may leave out: JAX, and the processor.

    A cluster's nodes may share the folder and not the instructions they have.
    """
    try:
        lines = PROCESSOR_FACTS.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    instructions = next((line for line in lines if line.startswith(INSTRUCTION_SETS)), "")
    digest = hashlib.sha256((instructions or platform.processor()).encode()).hexdigest()
    return f"jax{jax.__version__}-{platform.machine()}-{digest[:8]}"


class _Shared:
    """The shared folder and a job's own one."""

    def __init__(self, shared: Path, own: Path, report: Callable[[str], None]) -> None:
        self.shared = shared
        self.own = own
        self.report = report
        self.known: set[str] = set()

    def load(self) -> None:
        """Copy every whole entry into the job's own folder and delete the damaged ones."""
        try:
            entries = sorted(self.shared.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            self.report(f"compiled programs in {self.shared} cannot be read: {error.strerror}")
            return
        for entry in entries:
            # A hidden file is one that another job is about to rename.
            if not entry.name.startswith("."):
                self._take(entry)

    def publish(self) -> None:
        """Hand over the entries that are new in the job's own folder."""
        fresh = [path for path in self.own.iterdir() if path.name not in self.known]
        for path in fresh:
            self.known.add(path.name)
            try:
                self._give(path)
            except OSError as error:
                self.report(f"compiled programs cannot be kept in {self.shared}: {error.strerror}")
                return

    def _take(self, entry: Path) -> None:
        name, _, digest = entry.name.rpartition(".")
        try:
            content = entry.read_bytes()
            if _digest(content) != digest:
                self.report(f"the compiled program {entry} was damaged; deleted")
                entry.unlink()
                return
            (self.own / name).write_bytes(content)
        except FileNotFoundError:  # another job was faster in deleting it
            return
        except OSError as error:
            (self.own / name).unlink(missing_ok=True)
            self.report(f"the compiled program {entry} is of no use: {error.strerror}")
            return
        self.known.add(name)

    def _give(self, path: Path) -> None:
        content = path.read_bytes()
        if _cut_short(content):  # JAX has run out of disk, and has said so
            return
        with whole_file(self.shared / f"{path.name}.{_digest(content)}") as temporary:
            temporary.write_bytes(content)


def _cut_short(content: bytes) -> bool:
    """Tell whether an entry was not written to its end, where JAX compresses with zlib."""
    if not content.startswith(ZLIB):
        return False
    try:
        zlib.decompress(content)
    except zlib.error:
        return True
    return False


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _keep_programs_in(folder: str | None) -> None:
    """Set JAX's own compilation cache: every program, however small or quickly compiled."""
    reset_cache()  # it would go on with the folder that it opened first
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_compilation_cache_max_size", -1)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # XLA's further caches lie in a path that would enter every program's key.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
