"""Tests of the shell: configuration, transactions, topics, metrics, commands."""
