"""The machine that a process runs on: files, locks, the process that started it."""
