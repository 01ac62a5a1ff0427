"""Alert rules and dashboard: they name metrics that exist, and each alert fires when it should."""

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.imports import ROOT

PROMETHEUS = ROOT / "infra" / "prometheus"
RULES, CONFIG = PROMETHEUS / "alerts.yml", PROMETHEUS / "prometheus.yml"
DASHBOARD = ROOT / "infra" / "grafana" / "melanoma.json"
MONITORING = ROOT / "infra" / "prometheus" / "README.md"
PROMTOOL = Path("/usr/bin/promtool")
ALERTS = {rule["alert"]: rule for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}

needs_promtool = pytest.mark.skipif(
    not PROMTOOL.exists(), reason="Prometheus is not installed (apt-get install prometheus)"
)


@pytest.fixture
def exposed(monkeypatch, tmp_path):
    """The series of a server that records its answers and has a challenger, by name and labels."""
    from prometheus_client import CollectorRegistry, multiprocess, values

    from melanoma.serving.metrics_folder import FOLDER
    from melanoma.serving.metrics_prometheus import PrometheusMetrics
    from melanoma.serving.records import Recorded

    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    recorder: Any = SimpleNamespace(num_written=0, num_lost=0, unsynced_seconds=0)
    shadow: Any = SimpleNamespace(num_scored=0, num_dropped=0, num_failed=0, num_restarts=0, num_waiting=0)
    model = Recorded("m", "1", "0", 1)
    counting = PrometheusMetrics("", 1, tmp_path, model=model, recorder=recorder, shadow=shadow)
    counting.watch({"quick": (), "slow": ()}, (), num_threads=4)
    counting._sample()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, str(tmp_path))
    return [sample for family in registry.collect() for sample in family.samples]


def expressions() -> dict[str, str]:
    """Each expression of the alerts and of the dashboard, by where it is."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    shown = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels
        for target in panel["targets"]
    }
    return {name: rule["expr"] for name, rule in ALERTS.items()} | shown


def families(names: set[str]) -> set[str]:
    """Without the endings of a histogram."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\bmelanoma_\w+", text))


def test_alerts_and_dashboard_name_metrics_that_exist(exposed):
    names = {sample.name for sample in exposed}
    for place, expression in expressions().items():
        assert metrics_in(expression) <= names, place


def test_alerts_and_dashboard_ask_for_labels_that_exist(exposed):
    known = {(name, value) for sample in exposed for name, value in sample.labels.items()}
    known |= {("job", "melanoma"), ("alertstate", "firing")}
    labels = {name for name, _ in known} | {"instance"}
    for place, expression in expressions().items():
        assert set(re.findall(r'(\w+)="([^"]*)"', expression)) <= known, place
        grouped = " ".join(re.findall(r"by \(([^)]*)\)", expression))
        assert set(re.findall(r"\w+", grouped)) <= labels, place


def test_the_dashboard_and_the_readme_have_every_metric(exposed):
    names = families({sample.name for sample in exposed})
    assert families(metrics_in(DASHBOARD.read_text())) == names
    assert metrics_in(MONITORING.read_text()) == names


def test_panels_do_not_overlap_and_have_ids_of_their_own():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_is_wrong_and_what_to_do(alert):
    rule = ALERTS[alert]
    assert set(rule["annotations"]) == {"summary", "runbook"}
    assert all(text.endswith(".") for text in rule["annotations"].values())
    assert rule["labels"]["severity"] in {"critical", "warning"}


@needs_promtool
def test_promtool_accepts_the_rules_and_the_settings():
    for check, path in (("rules", RULES), ("config", CONFIG)):
        done = subprocess.run([PROMTOOL, "check", check, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def requests(status, values):
    return f'melanoma_requests_total{{status="{status}"}}', values


def refusals(values):
    return 'melanoma_refusals_total{reason="timeout"}', values


def whole(bound, values):
    return f'melanoma_request_seconds_bucket{{part="whole",le="{bound}"}}', values


def decisions(decision, values):
    return f'melanoma_decisions_total{{decision="{decision}"}}', values


def shadow_rows(outcome, values):
    return f'melanoma_shadow_rows_total{{outcome="{outcome}"}}', values


UP, LOST, LAG = (
    'up{job="melanoma"}',
    "melanoma_records_lost_total",
    "melanoma_records_unsynced_seconds",
)
# Series, one value a minute, of an alert: those that fire it, and their twins that do not.
FIRING = {
    "MelanomaServerDown": [[(UP, "1x500 0x100")], []],
    "MelanomaNoAnswers": [[requests(200, "100x600")], []],
    "MelanomaRefusalsHigh": [
        [requests(200, "0+79x600"), requests(504, "0+21x600"), refusals("0+21x600")],
        [requests(504, "0+3x600"), refusals("0+3x600")],
    ],
    "MelanomaSlow": [[whole("5.0", "0+98x600"), whole("10.0", "0+100x600"), whole("+Inf", "0+100x600")]],
    "MelanomaRecordsLost": [[(LOST, "0x590 1x20")]],
    "MelanomaRecordsNotOnDisk": [[(LAG, "31x600")]],
    "MelanomaReferralsHigh": [[decisions("refer", "0+51x600"), decisions("negative", "0+49x600")]],
    "MelanomaShadowSilent": [
        [shadow_rows("scored", "5x600"), shadow_rows("dropped", "0+1x600"), shadow_rows("failed", "0x600")],
        [shadow_rows("scored", "5x600"), shadow_rows("dropped", "0x600"), shadow_rows("failed", "0+1x600")],
    ],
}
QUIET = {
    "MelanomaServerDown": [[(UP, "1x600")], [(UP, "0x590 1x20")]],
    "MelanomaNoAnswers": [[requests(200, "0x590 1x20")], [requests(200, "0+1x600")]],
    "MelanomaRefusalsHigh": [
        [requests(200, "0+81x600"), requests(504, "0+19x600"), refusals("0+19x600")],
        [requests(504, "0+1x600"), refusals("0+1x600")],  # too few to tell
        [requests(200, "5x600"), refusals("0x600")],  # no requests at all
    ],
    "MelanomaSlow": [
        [whole("5.0", "0+99x600"), whole("10.0", "0+100x600"), whole("+Inf", "0+100x600")],
        [whole("5.0", "9x600"), whole("+Inf", "10x600")],  # slow, but hours ago
    ],
    "MelanomaRecordsLost": [[(LOST, "1x600")]],
    "MelanomaRecordsNotOnDisk": [[(LAG, "30x600")]],
    "MelanomaReferralsHigh": [
        [decisions("refer", "0+49x600"), decisions("negative", "0+51x600")],
        [decisions("refer", "0x580 40x20"), decisions("negative", "0x600")],  # too few to tell
    ],
    "MelanomaShadowSilent": [
        [shadow_rows("scored", "0+1x600"), shadow_rows("dropped", "0+9x600")],  # slow, but it answers
        [shadow_rows("scored", "5x600"), shadow_rows("dropped", "5x600")],  # no requests
    ],
}
CASES = [
    pytest.param(alert, series, is_firing, id=f"{alert}-{'fires' if is_firing else 'quiet'}-{number}")
    for is_firing, cases in ((1, FIRING), (0, QUIET))
    for alert, given in cases.items()
    for number, series in enumerate(given)
]


def test_every_alert_has_series_that_fire_it_and_twins_that_do_not():
    assert set(FIRING) == set(QUIET) == set(ALERTS)


@needs_promtool
@pytest.mark.parametrize(("alert", "series", "is_firing"), CASES)
def test_an_alert_fires_when_it_should_and_only_then(alert, series, is_firing, tmp_path):
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series],
        "promql_expr_test": [
            {
                "expr": f'sum(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)',
                "eval_time": "10h",
                "exp_samples": [{"labels": "{}", "value": is_firing}],
            }
        ],
    }
    content = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yml").write_text(json.dumps(content))
    done = subprocess.run(
        [PROMTOOL, "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
