"""The machine that a job runs on: devices, compiled programs, signals, versions."""
