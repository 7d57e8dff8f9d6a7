"""Draw one figure from the cube of a task: of the paper by its number, or of one of its kinds.

Figure 1 needs no cube.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import Parser, UserError, run_script
from samedge.config.paper_figures import FIGURES, TASK_KINDS
from samedge.figures import paper
from samedge.records import files


def main(argv: list[str] | None = None) -> None:
    """Draw a figure from the command line."""
    parser = Parser(__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--number", type=int, choices=FIGURES, metavar="N", help="1 to 16")
    which.add_argument("--kind", choices=TASK_KINDS, help="what to draw, of any task")
    parser.add_argument("--cube", type=Path, help="the cube of the figure's task")
    parser.add_argument("--rho", help="radius of the SAM runs to show (default: the paper's)")
    parser.add_argument("--axis", choices=paper.AXES, default=paper.AXES[0], help="what is on x")
    parser.add_argument("--output-pdf", type=Path, required=True)
    parser.add_argument("--output-png", type=Path, required=True)
    arguments = parser.parse_args(argv)
    if arguments.kind is not None:
        if arguments.cube is None or arguments.rho is None:
            raise UserError(f"--kind {arguments.kind} needs --cube and --rho")
        kind, cube = TASK_KINDS[arguments.kind], files.read_cube(arguments.cube)
        figure = paper.draw_kind(kind, cube, arguments.rho, arguments.axis)
        paper.save(figure, arguments.output_pdf, arguments.output_png)
        return
    spec = FIGURES[arguments.number]
    if spec.task and arguments.cube is None:
        raise UserError(f"figure {spec.number} needs --cube: the cube of the task '{spec.task}'")
    cube = files.read_cube(arguments.cube) if spec.task else None
    rho = spec.rho(arguments.rho or spec.paper_rho)
    paper.save(
        paper.draw(spec, cube, rho, arguments.axis), arguments.output_pdf, arguments.output_png
    )


if __name__ == "__main__":
    run_script(main)
