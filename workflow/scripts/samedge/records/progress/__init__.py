"""What a run tells while it is under way, and what an experiment is to train: small files."""
