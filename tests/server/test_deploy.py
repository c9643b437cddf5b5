"""The files in deploy/ say what the code says: they parse, and every setting, metric and path in them exists."""

from __future__ import annotations

import configparser
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from chattts_onnx.config import EngineConfig
from chattts_onnx.server.metrics import Metrics
from chattts_onnx.server.settings import ServerSettings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
pytestmark = pytest.mark.skipif(not DEPLOY.is_dir(), reason="deploy/ is not part of this distribution")
KNOWN = {
    "server": {item.name for item in fields(ServerSettings)},
    "engine": {item.name for item in fields(EngineConfig)},
}


def texts():
    return [path for path in sorted(DEPLOY.rglob("*")) if path.is_file()]


@pytest.mark.parametrize("path", texts(), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_setting_named_exists(path):
    text = path.read_text(encoding="utf-8")
    for kind, name in re.findall(r"CHATTTS_(SERVER|ENGINE)_([A-Z_]+)", text):
        assert name.lower() in KNOWN[kind.lower()] | {"config"}, name


@pytest.mark.parametrize("path", list(DEPLOY.rglob("*.yaml")), ids=lambda path: path.name)
def test_yaml_parses(path):
    yaml = pytest.importorskip("yaml")
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    assert all(isinstance(document, dict) for document in documents)


def test_ray_settings_exist():
    yaml = pytest.importorskip("yaml")
    config = yaml.safe_load((DEPLOY / "ray" / "serve_config.yaml").read_text(encoding="utf-8"))
    nested = yaml.safe_load((DEPLOY / "ray" / "rayservice.yaml").read_text(encoding="utf-8"))
    for applications in (config["applications"], yaml.safe_load(nested["spec"]["serveConfigV2"])["applications"]):
        arguments = applications[0]["args"]
        for table in ("server", "engine"):
            assert set(arguments[table]) <= KNOWN[table]


def test_toml_is_understood(caplog):
    from chattts_onnx.server.settings import load_settings

    load_settings(None, {"CHATTTS_SERVER_CONFIG": str(DEPLOY / "chattts.toml")})
    assert "unknown" not in caplog.text


def test_every_metric_on_the_dashboard_is_exported():
    metrics = Metrics()
    known = ("running", "waiting", "batch_size", "kv_rows_used", "kv_bytes", "steps", "step_seconds", "failed")
    metrics.bind_engine(lambda: dict.fromkeys(known, 1))
    exported = metrics.render().decode()
    dashboard = json.loads((DEPLOY / "grafana" / "chattts.json").read_text(encoding="utf-8"))
    named = set(re.findall(r"chattts_[a-z_]+", json.dumps([panel["targets"] for panel in dashboard["panels"]])))
    assert len(named) > 12
    for name in named:
        base = re.sub(r"_(bucket|total|info)$", "", name)
        assert f"# TYPE {base}" in exported or f"# TYPE {name} " in exported, name


def test_the_unit_drains_and_does_not_restart_in_vain():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string((DEPLOY / "chattts.service").read_text(encoding="utf-8"))
    assert float(unit["Service"]["TimeoutStopSec"]) > ServerSettings().drain_timeout
    assert unit["Service"]["RestartPreventExitStatus"].split() == ["2", "3"]


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda"])
def test_dockerfiles_run_as_nobody_special_and_stop_by_sigterm(name):
    lines = (DEPLOY / name).read_text(encoding="utf-8").splitlines()
    assert "USER 10001" in lines
    assert "STOPSIGNAL SIGTERM" in lines
    assert lines[-1] == 'ENTRYPOINT ["chattts", "serve"]'  # exec form: the signal reaches Python
