"""Tests of the event generator."""
