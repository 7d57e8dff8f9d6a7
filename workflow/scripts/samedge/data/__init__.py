"""Data sets: where they come from, and the file that training reads."""
