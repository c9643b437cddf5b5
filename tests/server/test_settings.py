"""One source of defaults; flags over environment over file; what is unknown is warned about."""

from __future__ import annotations

import argparse
import logging
from dataclasses import fields

import pytest

from chattts_onnx.config import EngineConfig
from chattts_onnx.errors import InputError
from chattts_onnx.server import add_arguments, run
from chattts_onnx.server.settings import ServerSettings, field_documentation, load_settings


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(list(arguments))


def test_nothing_given_is_the_defaults():
    assert load_settings(parse(), {}) == ServerSettings()


def test_every_field_is_documented_and_has_a_flag():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    flags = {flag for action in parser._actions for flag in action.option_strings}
    for kind in (ServerSettings, EngineConfig):
        documented = field_documentation(kind)
        for item in fields(kind):
            if item.name != "engine":
                assert item.name in documented
                assert "--" + item.name.replace("_", "-") in flags


def test_later_sources_win(tmp_path):
    file = tmp_path / "chattts.toml"
    file.write_text(
        '[server]\nport = 1\nqueue = 1\nhost = "file"\ncors_origins = ["a", "b"]\n[engine]\nmax_batch = 3\n'
    )
    environ = {"CHATTTS_SERVER_QUEUE": "2", "CHATTTS_SERVER_HOST": "env", "CHATTTS_ENGINE_MAX_QUEUE": "5",
               "CHATTTS_SERVER_LOG_TEXT": "true", "CHATTTS_SERVER_API_KEYS": "a,b"}  # fmt: skip
    settings = load_settings(parse("--config", str(file), "--host", "flag", "--no-warm-up"), environ)
    assert (settings.port, settings.queue, settings.host) == (1, 2, "flag")
    assert settings.cors_origins == ("a", "b")
    assert (settings.engine.max_batch, settings.engine.max_queue) == (3, 5)
    assert (settings.slot_count, settings.queue_length) == (3, 2)
    assert settings.log_text
    assert not settings.warm_up
    assert len(settings.api_keys) == 2


def test_unknown_keys_are_warned_about_with_the_nearest_name(tmp_path, caplog):
    file = tmp_path / "chattts.toml"
    file.write_text("[server]\nqueu = 1\n[motor]\nx = 1\n")
    caplog.set_level(logging.WARNING)
    load_settings(parse("--config", str(file)), {"CHATTTS_SERVER_PROT": "1"})
    assert "did you mean 'queue'" in caplog.text
    assert "'motor'" in caplog.text
    assert "'prot'" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "many"), ("QUEUE_TIMEOUT", "-1"), ("SLOTS", "0"), ("WARM_UP", "perhaps"), ("LOG_FORMAT", "xml"),
     ("QUEUE", "-1"), ("VOICE_ALIASES", "noequals"), ("CONFIG", "/does/not/exist.toml"), ("API_KEY_FILE", "/no/such")],
)  # fmt: skip
def test_a_bad_value_says_which(name, value):
    with pytest.raises(InputError):
        load_settings(parse(), {"CHATTTS_SERVER_" + name: value})


def test_keys_from_a_file(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# team\none\n\nsha256:" + "0" * 64 + "\n")
    settings = load_settings(parse("--api-key-file", str(file)), {})
    assert len(settings.api_keys) == 2
    assert settings.api_keys[1] == "sha256:" + "0" * 64


def test_print_config_is_toml_that_loads_back(tmp_path, capsys, monkeypatch):
    for name in ("CHATTTS_SERVER_PORT", "CHATTTS_SERVER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    before = list(root.handlers), root.level
    try:
        assert run(parse("--print-config", "--port", "9001", "--api-keys", "secret", "--allowed-hosts", 'a"b')) == 0
    finally:
        root.handlers[:], root.level = before
    printed = capsys.readouterr().out
    assert "secret" not in printed
    file = tmp_path / "printed.toml"
    file.write_text(printed)
    settings = load_settings(parse("--config", str(file)), {})
    assert settings.port == 9001
    assert settings.allowed_hosts == ('a"b',)
    assert settings.engine == EngineConfig()
