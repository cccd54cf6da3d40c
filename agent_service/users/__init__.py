"""Users: who may call, and own projects."""
