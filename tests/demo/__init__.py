"""Tests of `consumer.demo`."""
