"""Train one run, or several of one task, measure their curvature, and write their NetCDF files.

Under Snakemake the settings come resolved as JSON; by hand they come from configuration files:

    python workflow/scripts/train_run.py --configfile config.yaml --task mnist \
        --eta 0.3 --rho 0.1 --seed 0 \
        --data results/default/data/mnist.npz --output run.nc
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.components import add_plugins_option, use_plugins
from samedge.base.errors import Parser, run_script
from samedge.config.by_hand import settings_by_hand, settings_from_json
from samedge.training.checkpoints import Interval
from samedge.training.job import JobOptions, PlannedRun, plan_grid, run_job


def main(argv: list[str] | None = None) -> None:
    """Train from the command line."""
    arguments = parse(argv)
    options = JobOptions(
        data=arguments.data,
        device=arguments.device,
        jobs_per_gpu=arguments.jobs_per_gpu,
        cache=arguments.cache,
        interval=Interval(arguments.checkpoint_minutes or None, arguments.checkpoint_steps or None),
        most=arguments.most or None,
    )
    run_job(planned_runs(arguments), options)


def planned_runs(arguments: argparse.Namespace) -> list[PlannedRun]:
    """Return the runs that the arguments ask for, with their files."""
    use_plugins(arguments.plugins)  # a configuration names its own
    files = (
        arguments.output,
        arguments.parameters,
        arguments.checkpoints,
        arguments.states,
        tuple(sorted(arguments.states_at)),
        arguments.start_from,
    )
    if arguments.grid is not None:
        return plan_grid(arguments.grid, *files)
    if arguments.settings is not None:
        settings = settings_from_json(arguments.settings)
    else:
        seed = "0" if arguments.seed is None else arguments.seed
        settings = settings_by_hand(
            arguments.configfile, arguments.task, arguments.eta, arguments.rho, seed
        )
    return [PlannedRun(settings, *files)]


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = Parser(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the task's data file (.npz)")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="the run file to write (.nc); with --grid the folder of run files, each by its name",
    )
    parser.add_argument(
        "--parameters",
        type=Path,
        help="file to keep the parameters in that audit.at asks for (.nc); with --grid a folder",
    )
    parser.add_argument(
        "--states",
        type=Path,
        help="file to keep in what other runs start from (.npz); with --grid a folder",
    )
    parser.add_argument(
        "--states-at",
        type=float,
        nargs="+",
        default=[],
        metavar="SHARE",
        help="shares of the budget, 0 to 1, at whose first checks that is",
    )
    parser.add_argument(
        "--start-from",
        type=Path,
        help="the states of the run that start_from names (.npz); with --grid the folder of each "
        "task's folder of them",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument(
        "--jobs-per-gpu", type=int, default=1, help="jobs that share one GPU and its memory"
    )
    parser.add_argument("--cache", type=Path, help="folder where compiled programs are kept")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        help="folder for this run's checkpoints, from which it goes on; beside the run file if not "
        "given; with --grid the folder of those folders",
    )
    parser.add_argument(
        "--checkpoint-minutes",
        type=float,
        default=10.0,
        help="minutes from one checkpoint to the next, 10 if not given; 0 for no limit",
    )
    parser.add_argument(
        "--checkpoint-steps",
        type=int,
        default=0,
        help="steps from one checkpoint to the next; 0, if not given, for no limit",
    )
    add_plugins_option(parser)
    parser.add_argument("--settings", help="a run's settings as JSON, instead of the following")
    parser.add_argument(
        "--grid",
        help="the settings of several runs of a task as JSON, with lists of eta, rho and seed, to "
        "train them all",
    )
    parser.add_argument(
        "--most",
        type=int,
        default=0,
        help="runs of a grid to train at once, 1 for one after the other; 0, if not given, for 8, "
        "on a CPU 1",
    )
    parser.add_argument(
        "--configfile", type=Path, nargs="+", help="configuration, each file over the ones before"
    )
    parser.add_argument("--task", help="name of a task of the configuration")
    parser.add_argument("--eta", help="learning rate")
    parser.add_argument("--rho", help="radius of SAM's perturbation; 0 is gradient descent")
    parser.add_argument("--seed", help="of initial weights and minibatches; 0 if not given")
    arguments = parser.parse_args(argv)
    by_hand = ("configfile", "task", "eta", "rho")
    given = [name for name in (*by_hand, "seed") if getattr(arguments, name) is not None]
    missing = [name for name in by_hand if name not in given]
    whole = [name for name in ("settings", "grid") if getattr(arguments, name) is not None]
    if not whole and missing:
        parser.error(f"needs --settings, or else --{', --'.join(missing)}")
    if arguments.plugins and arguments.configfile:
        parser.error("--plugins: the configuration names its own; leave this out")
    given = [*whole[1:], *given]
    if whole and given:
        parser.error(f"--{whole[0]} says it all; leave out --{', --'.join(given)}")
    if (arguments.states is None) != (not arguments.states_at):
        parser.error("--states and --states-at: give both or none")
    outside = [share for share in arguments.states_at if not 0 <= share <= 1]
    if outside:
        parser.error(f"argument --states-at: {outside[0]:g} must be a share, from 0 to 1")
    least = {"jobs_per_gpu": 1, "checkpoint_minutes": 0, "checkpoint_steps": 0, "most": 0}
    for name, bound in least.items():
        value = getattr(arguments, name)
        if not value >= bound:
            option = name.replace("_", "-")
            parser.error(f"argument --{option}: {value:g} must be at least {bound}")
    if arguments.checkpoints is None:
        arguments.checkpoints = arguments.output.with_suffix(".checkpoints")
    return arguments


if __name__ == "__main__":
    run_script(main)
