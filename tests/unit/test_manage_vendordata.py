"""`tatu-manage vendordata static`: what it says besides the file."""

import json

import pytest

from tatu.manage.main import main


@pytest.mark.parametrize(("words", "warned"), [([], True), (["--account=member"], False)])
def test_a_script_that_makes_no_account_is_warned_of(tmp_path, capsys, words, warned):
    (tmp_path / "tatu.conf").write_text(
        "[DEFAULT]\napi_endpoint = https://tatu.example\n"
        f"[database]\nconnection = sqlite:///{tmp_path}/tatu.db\n"
        f"[state]\ndirectory = {tmp_path}\n"
    )
    (tmp_path / "agent").write_text("the agent\n")
    given = ["--config-file", f"{tmp_path}/tatu.conf", "vendordata", "static"]
    url = "--agent-url=https://tatu.example/agent"
    assert main([*given, url, f"--agent={tmp_path}/agent", *words]) == 0
    out, err = capsys.readouterr()
    assert "cloud-init" in json.loads(out)
    assert ("without --account" in err) is warned
