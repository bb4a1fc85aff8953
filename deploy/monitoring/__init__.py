"""Alerts, recording rules, Grafana boards and the reference of metrics, made by code from one set of numbers.

`python -m deploy.monitoring` writes them, `--check` says whether what is committed is current.
"""
