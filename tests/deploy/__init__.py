"""Tests of what runs and watches the service."""
