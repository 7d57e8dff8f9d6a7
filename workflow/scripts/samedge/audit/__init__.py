"""Runs measured again in float64."""
