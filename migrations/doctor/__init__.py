"""Examines a database and predicts what an upgrade would find and do. Changes nothing."""
