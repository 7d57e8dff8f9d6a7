"""Runs that somebody else trains, measured and recorded on the way."""
