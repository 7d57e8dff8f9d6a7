"""Lines of a job's log."""


def say(line: str) -> None:
    """Print a line at once.

    That nobody reads it any more is no reason to end: when a workflow is killed, so is what takes
    its jobs' output, while a job may still have a checkpoint to write.
    """
    try:
        print(line, flush=True)
    except OSError:
        return
