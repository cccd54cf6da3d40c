"""Lists the metrics as a Markdown table, for docs/metrics.md."""

from shared.metrics.catalog import METRICS, PROCESS
from shared.metrics.instruments import Metric

HEAD = ("| metric | type | labels | meaning |", "| --- | --- | --- | --- |")


def metric_table() -> str:
    """One line for each metric."""
    return "\n".join([*HEAD, *map(_row, (*METRICS, *PROCESS))])


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |"
