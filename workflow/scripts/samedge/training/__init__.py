"""The training of a run: its loop, its schedule, its checkpoints."""
