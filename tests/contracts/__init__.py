"""The published contracts, checked with public tools."""
