"""Tests: laws, oracles and contracts of the three packages."""
