"""Tests of online_model."""
