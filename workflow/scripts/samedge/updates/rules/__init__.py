"""The update rules themselves, a file each."""
