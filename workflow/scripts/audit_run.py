"""Measure a run again in float64, at the checks whose parameters it kept.

By hand:

    python workflow/scripts/audit_run.py --run run.nc --parameters parameters.nc \
        --data results/default/data/mnist.npz --output audit.json
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.components import add_plugins_option, use_plugins
from samedge.base.errors import Parser, UserError, run_script
from samedge.base.files import require_file_path
from samedge.base.log import say
from samedge.config.settings import RunSettings
from samedge.machine.device import prepare_jax
from samedge.machine.signals import listening, raise_if_signalled
from samedge.records import files


def main(argv: list[str] | None = None) -> None:
    """Audit one run from the command line."""
    arguments = parse(argv)
    require_file_path(arguments.output, "--output")
    with listening():
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Audit the run whose files the arguments name."""
    use_plugins(arguments.plugins)
    recorded = files.read_run(arguments.run)
    try:
        settings = RunSettings.from_json(recorded.attrs["settings"])
    except ValueError as error:
        raise UserError(
            f"{arguments.run}: its settings are not those of this version ({error}); train it again"
        ) from error
    prepare_jax(
        settings.precision,
        arguments.device,
        double=True,
        jobs=arguments.jobs_per_gpu,
        report=say,
    )

    from samedge.audit.float64 import DIFFERENCE_STEP, TOLERANCE, audit
    from samedge.audit.table import Audit, write_audit
    from samedge.data.file import read_data
    from samedge.machine.compilation_cache import count_programs, shared_programs
    from samedge.machine.provenance import provenance
    from samedge.records.parameters import read_parameters

    raise_if_signalled()
    programs = count_programs()
    data = read_data(arguments.data, raise_if_signalled)
    environment = provenance(data)
    say(f"{settings.task} {settings.name} in float64 on {environment['device']}")
    saved = read_parameters(arguments.parameters)
    with shared_programs(arguments.cache, say):
        checks = audit(settings, data, recorded, saved, say)
    say(str(programs))
    write_audit(
        Audit(settings, environment, TOLERANCE, DIFFERENCE_STEP, tuple(checks)), arguments.output
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = Parser(__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="the run file (.nc)")
    parser.add_argument(
        "--parameters", type=Path, required=True, help="the parameters that the run kept (.nc)"
    )
    parser.add_argument("--data", type=Path, required=True, help="the task's data file (.npz)")
    parser.add_argument("--output", type=Path, required=True, help="the audit to write (.json)")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument(
        "--jobs-per-gpu", type=int, default=1, help="jobs that share one GPU and its memory"
    )
    parser.add_argument("--cache", type=Path, help="folder where compiled programs are kept")
    add_plugins_option(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_script(main)
