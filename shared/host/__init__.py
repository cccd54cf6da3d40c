"""The machine that a process runs on: its files, its locks, and its supervisor."""
