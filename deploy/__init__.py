"""Running the service: image, stack, Prometheus rules, Grafana boards, runbook."""
