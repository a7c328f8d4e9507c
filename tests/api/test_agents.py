"""The agents that hosts fetch: by their digest, the same bytes for ever."""

import hashlib
import io
import zipfile

import pytest

from tatu import agentfile
from tatu.agent import VERSION
from tatu.core.errors import Malformed
from tests.api.deployment import deployed


@pytest.fixture
def release(tmp_path):
    """Return a folder with an agent of before, its signature, and one that nobody signed."""
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "tatu-agent-0.0.9").write_bytes(b"the one before")
    (folder / "tatu-agent-0.0.9.sig").write_text("-----BEGIN SSH SIGNATURE-----\n")
    (folder / "own-build").write_bytes(b"nobody signed this")
    return folder


@pytest.fixture
def served(template, tmp_path, release):
    keys = tmp_path / "release_keys.pub"
    keys.write_text("ssh-ed25519 AAAA release\n")
    settings = f"[agent]\nrelease_keys = {keys}\ndirectory = {release}\n"
    with deployed(template, tmp_path / "deployment", settings=settings) as made:
        yield made


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_the_agent_of_this_version_is_served_with_its_release_keys(served):
    answer = served.call("GET", "/v2/agent")
    name = digest(answer.content)
    assert answer.headers["ETag"] == f'"{name}"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert f'VERSION = "{VERSION}"' in archive.read("tatu/agent/__init__.py").decode()
        assert archive.read("tatu/agent/release_keys.pub") == b"ssh-ed25519 AAAA release\n"
    again = served.call("GET", "/v2/agent", headers={"If-None-Match": f'"{name}"'})
    assert (again.status_code, again.content) == (304, b"")
    fixed = served.call("GET", f"/v2/agent/{name}")
    assert fixed.content == answer.content
    assert "immutable" in fixed.headers["Cache-Control"]


def test_agents_that_are_in_use_yet_are_served_by_their_digest(served):
    name = digest(b"the one before")
    assert served.call("GET", f"/v2/agent/{name}").content == b"the one before"
    signature = served.call("GET", f"/v2/agent/{name}/signature")
    assert signature.text == "-----BEGIN SSH SIGNATURE-----\n"
    unsigned = digest(b"nobody signed this")
    assert served.call("GET", f"/v2/agent/{unsigned}").status_code == 200
    assert served.call("GET", f"/v2/agent/{unsigned}/signature").status_code == 404


@pytest.mark.parametrize("name", ["0" * 64, "tatu-agent-0.0.9", "..%2Fkek", "A" * 64])
def test_nothing_else_is_served(served, name):
    assert served.call("GET", f"/v2/agent/{name}").status_code == 404


def test_this_versions_agent_may_have_its_signature_in_the_folder(tmp_path):
    (tmp_path / "tatu-agent").write_bytes(agentfile.packed())
    (tmp_path / "tatu-agent.sig").write_text("signed")
    (own,) = agentfile.offered(None, tmp_path)
    assert own.signature == "signed"


def test_a_folder_that_is_not_there_is_told_at_the_start(template, tmp_path):
    settings = f"[agent]\ndirectory = {tmp_path}/none\n"
    with (
        pytest.raises(Malformed, match="agent"),
        deployed(template, tmp_path / "deployment", settings=settings),
    ):
        pass
