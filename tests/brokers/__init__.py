"""Brokers: the same contract on every kind that can be started here."""
