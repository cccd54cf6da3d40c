"""Alerts and dashboard: their metrics exist, and the runbook has a part for each alert."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy/monitoring"
(GROUP,) = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
ALERTS: list[dict[str, Any]] = GROUP["rules"]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
METRIC = re.compile(r"\b(?:tandem|grpc|process)_\w+")
# What Prometheus makes of a histogram.
SUFFIX = re.compile(r"_(?:bucket|sum|count)$")
# Labels have underscores, too.
LABELS = {"grpc_method", "grpc_code", "grpc_service", "grpc_type"}


def documented() -> set[str]:
    """The metrics in the table of docs/metrics.md."""
    return set(re.findall(r"^\| `(\w+)`", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE))


def used(expression: str) -> set[str]:
    """The metrics in an expression."""
    return {SUFFIX.sub("", name) for name in METRIC.findall(expression)} - LABELS


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_asks_for_metrics_that_exist_and_has_a_runbook(alert: dict[str, Any]) -> None:
    assert used(alert["expr"]) <= documented()
    assert used(alert["expr"]) or "up{" in alert["expr"]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"


def test_the_dashboard_asks_for_metrics_that_exist_each_panel_in_a_place_of_its_own() -> None:
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    for panel in panels:
        for target in panel["targets"]:
            assert used(target["expr"])
            assert used(target["expr"]) <= documented()


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_accepts_them() -> None:
    subprocess.run(["promtool", "check", "config", MONITORING / "prometheus.yml"], check=True)


def test_the_runbook_has_a_part_for_each_alert_and_no_other() -> None:
    parts = re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)
    assert parts == [alert["alert"] for alert in ALERTS]
    for text in re.split(r"^## \w+$", RUNBOOK, flags=re.MULTILINE)[1:]:
        assert "- See" in text
        assert "do:" in text.lower()
