"""Observers: what is recorded at some of a run's checks, beyond what every check measures."""
