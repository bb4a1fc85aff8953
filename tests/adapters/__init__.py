"""Adapters of other formats."""
