"""Take over finished runs, of another clone or machine, so that Snakemake does not train them.

    python workflow/scripts/adopt_runs.py --configfile config.yaml \
        --source ../other/results/default

Every file is verified first. What is refused is named with the reason, and is trained.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import Parser, UserError, run_script
from samedge.base.log import say
from samedge.config.experiment import load
from samedge.sharing.adopting import adopt, data_file, files_of


def main(argv: list[str] | None = None) -> None:
    """Adopt runs from the command line."""
    arguments = parse(argv)
    if not Path("Snakefile").is_file():
        raise UserError("Snakefile: not found here; run this in the folder of the repository")
    experiment = load(arguments.configfile)
    results = Path("results") / experiment.name
    source = results if arguments.source is None else arguments.source
    if not (source / "runs").is_dir():
        raise UserError(
            f"--source: {source} has no folder 'runs'; give the results of an experiment, such as "
            f"../other/results/{experiment.name}"
        )
    snakemake(arguments, [data_file(task, results) for task in experiment.tasks])
    adoption = adopt(experiment, source, results)
    if adoption.adopted:
        # Marked as made now, by these rules and settings: a change of them is seen from here on.
        made = [
            file
            for run in adoption.adopted
            for file in files_of(run, results, bool(experiment.states_at(run.task))).values()
        ]
        snakemake(arguments, made, "--touch", "--force")
    for line in adoption.lines():
        say(line)
    if adoption.refused:
        raise UserError(
            f"{len(adoption.refused)} runs refused, as named above; the workflow trains them, once "
            f"what there is of them in {results} is deleted"
        )


def snakemake(arguments: argparse.Namespace, targets: Sequence[Path], *options: str) -> None:
    """Let Snakemake make targets, or what its options say, with the same configuration."""
    command = [
        *(sys.executable, "-m", "snakemake", "--cores", arguments.cores, "--quiet", "all"),
        *("--configfile", *map(str, arguments.configfile), *options, "--", *map(str, targets)),
    ]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode != 0:
        what = ", ".join(map(str, targets[:3])) + (", ..." if len(targets) > 3 else "")
        raise UserError(f"Snakemake failed at {what}:\n{done.stdout}")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = Parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--configfile",
        type=Path,
        nargs="+",
        default=[Path("config.yaml")],
        help="configuration, each file over the ones before; config.yaml if not given",
    )
    parser.add_argument(
        "--source",
        type=Path,
        help="results of an experiment, results/<name> of another clone; if not given, what was "
        "copied to this one's",
    )
    parser.add_argument("--cores", default="all", help="for making data that are not there yet")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_script(main)
