"""The command's frame: lazy commands, exit codes, one clear line for every failure."""

import subprocess
import sys

import click
import pytest

from onhand import cli
from onhand.cli.options import settings_options
from onhand.configuration import settings_fields
from onhand.errors import OnhandError, SettingsError


@pytest.fixture
def command(monkeypatch):
    """Put a command of the test's own in the table, as ``onhand probe``."""

    def put(made):
        monkeypatch.setitem(cli.COMMANDS, "probe", cli.Entry("tests_probe:command", "Probe."))
        module = type(sys)("tests_probe")
        module.command = made
        monkeypatch.setitem(sys.modules, "tests_probe", module)

    return put


def raising(error):
    @click.command()
    def probe():
        raise error

    return probe


def test_help_lists_every_command_without_importing_any():
    """Help names each command and loads neither the database's libraries nor the server's."""
    code = (
        "import sys; from onhand.cli import run; code = run(['--help'])\n"
        "heavy = {'sqlalchemy', 'litestar', 'bytewax', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, entry in cli.COMMANDS.items():
        assert name in done.stdout
        assert entry.summary in done.stdout


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OnhandError("it broke", "Mend it"), 1, "onhand: it broke. Mend it.\n"),
        (SettingsError("port is odd", "Use 8000"), 2, "onhand: port is odd. Use 8000.\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "onhand: /x: Permission denied.\n"),
        (KeyboardInterrupt(), 1, "onhand: stopped.\n"),
        (click.UsageError("no such thing"), 2, "Error: no such thing"),
        (click.ClickException("cannot"), 1, "Error: cannot"),
        (ZeroDivisionError("by zero"), 1, "unexpected failure, ZeroDivisionError: by zero"),
    ],
)
def test_failure_is_one_line_and_an_exit_code(command, capsys, error, code, said):
    """Whatever a command raises ends as a line on standard error, never as a stack."""
    command(raising(error))
    assert cli.run(["probe"]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_traceback_can_be_asked_for(command, monkeypatch):
    """With ONHAND_TRACEBACK set an unexpected failure keeps its stack."""
    monkeypatch.setenv("ONHAND_TRACEBACK", "1")
    command(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.run(["probe"])


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (0, 0), (1, 1)])
def test_answer_of_a_command_is_the_exit_code(command, answer, code):
    """A command may answer an exit code; none means done."""
    command(click.command()(lambda: answer))
    assert cli.run(["probe"]) == code


def test_unknown_command_is_bad_usage(capsys):
    """A command that does not exist is exit code 2."""
    assert cli.run(["fly"]) == 2
    assert "No such command 'fly'" in capsys.readouterr().err


def test_every_setting_but_options_of_the_broker_is_an_option():
    """A command that takes all settings has an option for each, named after it."""
    made = click.command()(settings_options()(lambda _: None))
    options = {name for parameter in made.params for name in parameter.opts}
    expected = {f"--{field.name.replace('_', '-')}" for field in settings_fields() if field.flags}
    assert expected | {"-w", "--config"} == options
    assert "--kafka-options" not in options


def test_settings_reach_the_command(command, monkeypatch, tmp_path):
    """Options, environment and file arrive as one settings object."""
    taken = []
    made = settings_options("port", "worker_count", flags={"worker_count": ["--workers"]})
    command(click.command()(made(taken.append)))
    config = tmp_path / "onhand.toml"
    config.write_text("low_stock = 9\nport = 1")
    monkeypatch.setenv("ONHAND_HOST", "::1")
    assert cli.run(["probe", "--config", str(config), "--port", "2", "--workers", "3"]) == 0
    (settings,) = taken
    assert (settings.port, settings.worker_count) == (2, 3)
    assert (settings.host, settings.low_stock) == ("::1", 9)


def test_wrong_setting_is_bad_usage(command, capsys):
    """A setting out of bounds is exit code 2 and named with its option."""
    command(click.command()(settings_options("port")(lambda _: None)))
    assert cli.run(["probe", "--port", "70000"]) == 2
    assert "--port '70000': must be integer <= 65535" in capsys.readouterr().err


def test_reader_that_goes_away_is_no_failure_to_report():
    """Piping into a program that stops reading prints nothing."""
    code = (
        "import sys, types, click; from onhand import cli\n"
        "m = types.ModuleType('m'); sys.modules['m'] = m\n"
        "m.c = click.command()(lambda: [print('x' * 1000) for _ in range(10000)] and None)\n"
        "cli.COMMANDS['probe'] = cli.Entry('m:c', ''); sys.exit(cli.run(['probe']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1
