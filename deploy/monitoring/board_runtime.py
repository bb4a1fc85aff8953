"""The board of the process: memory, processor, files, scrapes."""

from __future__ import annotations

from deploy.monitoring.panels import Board, Panel, Query, Row, metric, process


def runtime() -> Board:
    """Of each instance."""
    return Board(
        "segmenter-runtime",
        "Segmenter / Runtime",
        "Memory, processor, files and scrapes of each instance.",
        (
            Row(
                "Process",
                (
                    Panel(
                        "Processor",
                        "Cores in use.",
                        (
                            Query(
                                f"rate({process('process_cpu_seconds_total')}[$__rate_interval])",
                                "{{instance}}",
                            ),
                        ),
                        width=12,
                    ),
                    Panel(
                        "Memory",
                        "Resident, and what the customers' state takes of it.",
                        (
                            Query(process("process_resident_memory_bytes"), "{{instance}} resident"),
                            Query(metric("state_bytes"), "{{instance}} state"),
                        ),
                        unit="bytes",
                        width=12,
                    ),
                    Panel(
                        "Open files",
                        "Connections, too.",
                        (Query(process("process_open_fds"), "{{instance}}"),),
                    ),
                    Panel(
                        "Collections of garbage",
                        "By generation.",
                        (
                            Query(
                                f"sum by (instance, generation) "
                                f"(rate({process('python_gc_collections_total')}[$__rate_interval]))",
                                "{{instance}} {{generation}}",
                            ),
                        ),
                        unit="cps",
                    ),
                    Panel(
                        "Time since the start",
                        "A restart shows as a fall.",
                        (Query(f"time() - {process('process_start_time_seconds')}", "{{instance}}"),),
                        unit="s",
                    ),
                ),
            ),
            Row(
                "Scrapes",
                (
                    Panel(
                        "Duration of a scrape",
                        "As Prometheus sees it.",
                        (Query(process("scrape_duration_seconds"), "{{instance}}"),),
                        unit="s",
                    ),
                    Panel(
                        "Series per scrape",
                        "Customers are never labels: this grows with partitions, features and segments only.",
                        (Query(process("scrape_samples_scraped"), "{{instance}}"),),
                    ),
                    Panel(
                        "Programs",
                        "What runs where.",
                        (
                            Query(f"max by (instance, version) ({metric('build_info')})"),
                            Query(f"max by (instance, version) ({process('python_info')})"),
                        ),
                        "table",
                    ),
                ),
            ),
        ),
    )
