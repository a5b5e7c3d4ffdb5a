"""Settings: where they come from, what they refuse, what they never show."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from onhand.configuration import load_settings, settings_fields
from onhand.errors import SettingsError
from onhand.settings import Settings, is_loopback


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "onhand.toml"
        path.write_text(text)
        return path

    return write


def test_defaults_need_nothing():
    """Without any setting the defaults hold."""
    settings = load_settings(environ={})
    assert settings == Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.late_us == 72 * 3_600_000_000
    assert settings.ahead_us == 60_000_000
    assert settings.ledger_path == Path("onhand-data/ledger.sqlite3")


def test_default_memory_holds_at_least_five_million_ids():
    """Five million event ids are remembered by default, also with the late window off."""
    assert load_settings({"late_window": "off"}, environ={}).ids_max >= 5_000_000


def test_flag_wins_over_environment_over_file_over_default(config):
    """The nearer source of a setting wins, field by field."""
    path = config('port = 1\nhost = "::1"\nlow_stock = 9')
    environ = {"ONHAND_PORT": "2", "ONHAND_HOST": "localhost"}
    settings = load_settings({"port": "3", "host": None}, environ=environ, config=path)
    assert (settings.port, settings.host, settings.low_stock) == (3, "localhost", 9)
    assert settings.worker_count == 1


def test_environment_may_name_the_file(config):
    """ONHAND_CONFIG names the settings file when no option does."""
    path = config('late_window = "off"\n[kafka_options]\n"client.id" = "a"')
    environ = {"ONHAND_CONFIG": str(path), "ONHAND_KAFKA": "b:9092"}
    settings = load_settings(environ=environ)
    assert settings.late_window is None
    assert settings.late_us == -1
    assert settings.kafka_options == {"client.id": "a"}


def test_text_of_the_environment_is_read_by_the_type_of_the_field():
    """Numbers, booleans, durations, sizes and JSON are read from text."""
    environ = {
        "ONHAND_NO_AUTH": "true",
        "ONHAND_TABLE_BYTES_MAX": "1GiB",
        "ONHAND_COUNT_WINDOW": "90m",
        "ONHAND_KAFKA": "a:1,b:2",
        "ONHAND_KAFKA_OPTIONS": '{"sasl.password": "x"}',
        "ONHAND_CHECKPOINT_INTERVAL_S": "0.5",
        "ONHAND_DATABASE": "",
    }
    settings = load_settings(environ=environ)
    assert settings.no_auth is True
    assert settings.table_bytes_max == 1 << 30
    assert settings.count_window == timedelta(minutes=90)
    assert settings.kafka_options == {"sasl.password": "x"}
    assert settings.checkpoint_interval_s == 0.5
    assert settings.database is None


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"ONHAND_PORT": "65536"}, "ONHAND_PORT '65536': must be integer <= 65535"),
        ({"ONHAND_PORT": "http"}, "ONHAND_PORT 'http': must be integer"),
        ({"ONHAND_LATE_WINDOW": "72"}, "ONHAND_LATE_WINDOW '72': expected a duration"),
        ({"ONHAND_COUNT_WINDOW": "off"}, "ONHAND_COUNT_WINDOW 'off'"),
        ({"ONHAND_LOG_FORMAT": "xml"}, "must be one of auto, json, text"),
        ({"ONHAND_KAFKA_OPTIONS": "{"}, "ONHAND_KAFKA_OPTIONS: "),
        ({"ONHAND_LATE_WINDW": "1h"}, "did you mean late_window"),
        ({"ONHAND_CONFIG": "/nowhere.toml"}, "cannot read the settings file /nowhere.toml"),
        ({"ONHAND_HOST": "0.0.0.0", "ONHAND_NO_AUTH": "1"}, "no_auth is set while the host"),
        ({"ONHAND_KAFKA": "broker"}, "Give brokers as HOST:PORT"),
        ({"ONHAND_KAFKA_OPTIONS": '{"a": 1}'}, "kafka_options is set but kafka is not"),
        ({"ONHAND_DATABASE": "mysql://u:hush@h/d"}, "database is no PostgreSQL address"),
        ({"ONHAND_HISTORY_MAX": "3000"}, "Use 4096"),
        ({"ONHAND_OTLP_ENDPOINT": "me:hush@c:4318"}, "otlp_endpoint is no http or https URL"),
        ({"ONHAND_OTLP_ENDPOINT": "http://me:hush@"}, "Write it as http://HOST:PORT"),
        ({"ONHAND_OTLP_ENDPOINT": "http://c:hush/"}, "otlp_endpoint is no"),
        ({"ONHAND_OTLP_ENDPOINT": "http://c:0"}, "otlp_endpoint is no"),
        ({"ONHAND_OTLP_ENDPOINT": "http://[hush"}, "otlp_endpoint is no"),
        ({"ONHAND_OTLP_ENDPOINT": "http://c/?token=hush"}, "otlp_endpoint is no"),
        ({"ONHAND_OTLP_ENDPOINT": "http://c d"}, "otlp_endpoint is no"),
        ({"ONHAND_OTLP_ENDPOINT": "grpc://c:4317"}, "otlp_endpoint is no"),
        (
            {"ONHAND_TRACE_SAMPLE_RATIO": "1.5"},
            "ONHAND_TRACE_SAMPLE_RATIO '1.5': must be number <= 1",
        ),
        ({"ONHAND_TRACE_SAMPLE_RATIO": "nan"}, "ONHAND_TRACE_SAMPLE_RATIO 'nan': must be"),
        ({"ONHAND_LATE_WINDOW": "0s"}, "late_window is zero"),
        ({"ONHAND_CHECKPOINT_ARCHIVE_DAYS": "6"}, "Archive checkpoints for at least as long"),
        ({"ONHAND_ORDERS_KEEP_DAYS": "399"}, "orders_keep_days is shorter than purchases_keep"),
    ],
)
def test_wrong_setting_is_named_with_its_rule(environ, said):
    """A wrong value costs a message that names where it was given and what is allowed."""
    with pytest.raises(SettingsError) as caught:
        load_settings(environ=environ)
    assert said in str(caught.value)
    assert "hush" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_every_mistake_is_named_at_once(config):
    """Several wrong settings are told in one message."""
    path = config("prot = 1\ntable_bytes_max = true\nlate_window = 72")
    with pytest.raises(SettingsError) as caught:
        load_settings({"port": "-1"}, environ={}, config=path)
    text = str(caught.value)
    for part in ("prot in", "did you mean port", "table_bytes_max in", "late_window in", "--port"):
        assert part in text


def test_variables_of_platforms_are_no_settings():
    """What Kubernetes sets beside a service named onhand changes nothing and is not refused."""
    environ = {"ONHAND_PORT": "tcp://10.0.0.1:8000", "ONHAND_SERVICE_HOST": "10.0.0.1"}
    assert load_settings(environ=environ).port == 8000


def test_secrets_are_never_shown():
    """Neither the text of settings nor what is logged of them holds a password."""
    settings = Settings(
        kafka="b:9092",
        kafka_options={"sasl.password": "hush", "client.id": "me"},
        database="postgresql://me:hush@db:5432/x",
        otlp_endpoint="https://hush@collector/otlp",
    )
    assert "hush" not in repr(settings)
    assert "hush" not in str(settings.masked())
    assert settings.masked()["kafka_options"]["client.id"] == "me"
    assert settings.masked()["database"] == "postgresql://me:***@db:5432/x"
    assert settings.masked()["otlp_endpoint"] == "https://***@collector/otlp"


@pytest.mark.parametrize(
    "endpoint",
    ["http://c", "https://c:4318/", "http://[::1]:4318/otlp", "https://me:h%40sh@c/v1/traces"],
)
def test_endpoints_of_collectors(endpoint):
    """A host is enough; port, path and credentials may be there."""
    assert Settings(otlp_endpoint=endpoint).otlp_endpoint == endpoint


def test_settings_cannot_be_changed():
    """Settings are frozen and take no unknown names."""
    with pytest.raises(AttributeError):
        Settings().port = 1
    with pytest.raises(TypeError):
        Settings(prot=1)


def test_every_setting_is_described():
    """Every field has a meaning, and numbers have bounds."""
    for field in settings_fields():
        assert field.description.endswith("."), field.name
        if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
            assert field.lowest is not None, field.name
    assert Settings.__struct_config__.frozen
    assert msgspec.structs.fields(Settings)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hush@db:5432/x",
        "postgresql://me:hu/sh@ush@db/x",
        "postgresql://db/x?user=me&password=hush&sslmode=require",
    ],
)
def test_password_of_an_address_is_masked_however_written(url):
    """A password is masked also when it is badly encoded or given as a parameter."""
    shown = Settings(database=url).masked()["database"]
    assert "hu" not in shown
    assert "ush" not in shown
    assert "db" in shown


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.com", False),
    ],
)
def test_loopback_is_this_machine_only(host, loopback):
    """Only addresses that no other machine can reach count as loopback."""
    assert is_loopback(host) is loopback
