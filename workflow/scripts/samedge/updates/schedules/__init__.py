"""The schedules themselves, a file each."""
