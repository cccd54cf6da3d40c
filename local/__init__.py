"""What only a developer's machine needs: the embedded PostgreSQL, and a supervisor of processes.

It needs the extra `local`. No service imports it.
"""
