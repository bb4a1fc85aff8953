"""The segment report."""
