"""The attempts at a task: which there were, that it gets new ones, and that there be none."""
