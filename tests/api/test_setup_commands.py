"""``onhand locations`` and ``onhand token``, as a person runs them."""

import json
import re

import pytest

from onhand import cli
from onhand.ledger import Authenticator, TokenStore, open_ledger
from onhand.settings import Settings

CSV = "id,name,type,groups\na,A,store,online;west\nb,B,warehouse,online\n"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def settings(request, tmp_path, monkeypatch):
    monkeypatch.setattr("onhand.cli.token.VISIBLE_S", 0)
    monkeypatch.setenv("ONHAND_DATA", str(tmp_path / "data"))
    database = None
    if request.param == "postgres":
        database = request.getfixturevalue("postgres_url")
        monkeypatch.setenv("ONHAND_DATABASE", database)
    return Settings(data=tmp_path / "data", database=database)


@pytest.fixture
def onhand(settings, capsys):  # noqa: ARG001 - the environment that it sets
    def run(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_locations_are_loaded_and_listed(onhand, tmp_path):
    """A file is loaded, again without harm, and what is set up is listed."""
    file = tmp_path / "stores.csv"
    file.write_text(CSV)
    assert onhand("locations", "load", file)[:2] == (0, "Loaded 2 locations: 2 new, 0 replaced.\n")
    assert onhand("locations", "load", file)[1] == "Loaded 2 locations: 0 new, 2 replaced.\n"
    code, listed, _ = onhand("locations", "list")
    assert code == 0
    assert "a\tA\tstore\tonline, west\tyes\tyes\tyes\tUTC" in listed.splitlines()


def test_listed_locations_can_be_loaded_again(onhand, tmp_path):
    """What is listed as JSON lines is a file that loads."""
    file = tmp_path / "stores.csv"
    file.write_text(CSV)
    onhand("locations", "load", file)
    listed = onhand("locations", "list", "--json")[1]
    assert [json.loads(line)["id"] for line in listed.splitlines()] == ["a", "b"]
    again = tmp_path / "again.ndjson"
    again.write_text(listed)
    assert onhand("locations", "load", again)[1] == "Loaded 2 locations: 0 new, 2 replaced.\n"


def test_bad_file_loads_nothing_and_names_its_lines(onhand, tmp_path):
    """One bad line keeps the whole file out, and every bad line is on standard error."""
    file = tmp_path / "stores.csv"
    file.write_text(CSV + "c,C,shop,\nd,,store,\n")
    code, out, err = onhand("locations", "load", file)
    assert (code, out) == (1, "")
    assert f"{file}: line 4: /type: must be one of" in err
    assert f"{file}: line 5: /name: is required" in err
    assert "Nothing was loaded" in err
    assert "No location is set up" in onhand("locations", "list")[2]


def test_missing_file_is_bad_usage(onhand, tmp_path):
    """A file that does not exist is exit code 2."""
    assert onhand("locations", "load", tmp_path / "none.csv")[0] == 2


def test_token_is_made_used_listed_and_revoked(onhand, settings):
    """A token printed by the command opens its role until it is revoked."""
    code, out, err = onhand(
        "token", "create", "--role", "associate", "--location", "a", "--label", "till 3"
    )
    made = out.strip()
    assert code == 0
    assert re.fullmatch(r"oh_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", made)
    assert "location a is not set up yet" in err
    assert grant_of(settings, made).locations == {"a"}
    listed = onhand("token", "list")[1]
    assert "associate\ta\ttill 3" in listed
    assert made.split("_", 2)[2] not in listed
    assert onhand("token", "revoke", made)[0] == 0
    assert grant_of(settings, made) is None
    code, _, err = onhand("token", "revoke", made.split("_")[1])
    assert code == 1
    assert "there is no valid token" in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--role", "boss"],
        ["--role", "associate"],
        ["--role", "orders", "--location", "a"],
    ],
)
def test_token_that_makes_no_sense_is_bad_usage(onhand, arguments):
    """A token without a role, of an unknown one, or wrongly bound is exit code 2."""
    assert onhand("token", "create", *arguments)[0] == 2


def test_dead_database_is_one_line(onhand):
    """A database that is down ends a command with one line and advice."""
    code, _, err = onhand("token", "list", "--database", "postgresql://me:hush@127.0.0.1:1/x")
    assert code == 1
    assert err.count("\n") == 1
    assert "Start PostgreSQL" in err
    assert "hush" not in err


def grant_of(settings, token):
    ledger = open_ledger(settings)
    authenticator = Authenticator(TokenStore(ledger))
    authenticator.refresh()
    ledger.close()
    return authenticator.authenticate(f"Bearer {token}")
