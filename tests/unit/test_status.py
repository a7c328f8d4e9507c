"""`tatu-status upgrade check`, as OpenStack's deployment tools call it."""

import json

import pytest

from tatu import serve, worker
from tatu.manage import status
from tatu.manage.status import main
from tatu.store.migrations import migrate


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "tatu.conf"
    file.write_text(
        "[DEFAULT]\napi_endpoint = https://tatu.example\n"
        f"[database]\nconnection = sqlite:///{tmp_path}/tatu.db\n"
        f"[state]\ndirectory = {tmp_path}\n"
        f"[keystore_local]\nkek_file = {tmp_path}/kek\n"
    )
    return file


def checked(settings, capsys):
    code = main(["--config-file", str(settings), "upgrade", "check", "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    return code, {check["check"]: (check["result"], check["details"]) for check in checks}


def test_a_ledger_of_this_release_is_well(settings, tmp_path, capsys):
    migrate(f"sqlite:///{tmp_path}/tatu.db")
    code, checks = checked(settings, capsys)
    assert code == 0
    assert {result for result, _ in checks.values()} == {0}


def test_an_older_ledger_is_to_be_upgraded(settings, tmp_path, capsys):
    migrate(f"sqlite:///{tmp_path}/tatu.db", "0001")
    code, checks = checked(settings, capsys)
    assert code == 1
    assert "tatu-manage db sync" in checks["Ledger"][1]


def test_an_empty_ledger_stops_it(settings, capsys):
    code, checks = checked(settings, capsys)
    assert code == 2
    assert checks["Ledger"] == (2, "it is empty: run `tatu-manage db sync`")


def test_an_option_that_nobody_reads_stops_it(settings, capsys):
    settings.write_text(settings.read_text() + "[api]\nbind_prot = 1\n")
    code, checks = checked(settings, capsys)
    assert code == 2
    assert "bind_prot" in checks["Configuration"][1]


@pytest.mark.parametrize(
    ("program", "said"),
    [(serve, "Serves Tatu's API."), (worker, "Hears what"), (status, "Says whether")],
)
def test_help_begins_with_what_the_program_does(program, said, capsys):
    with pytest.raises(SystemExit):
        program.main(["--help"])
    assert said in capsys.readouterr().out
