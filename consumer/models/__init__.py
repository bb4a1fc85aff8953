"""Versions of the model around the computation: files, log, calibrations, commands, reports."""
