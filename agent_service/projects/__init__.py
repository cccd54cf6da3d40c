"""Projects: what everything else belongs to."""
