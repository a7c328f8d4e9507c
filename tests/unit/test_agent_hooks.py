"""PAM and sshd run the agent as root from where only root can change it."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tatu.agent import hooks
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout

HERE = Layout(Path("/"), Path("/etc/ssh/sshd_config"), "/usr/sbin/sshd", "tatu", "")
INSTALLED = Path("/usr/lib/tatu-agent/tatu-agent")


def stat_of(monkeypatch, found):
    """Have files with these owners and modes; all others are root's alone, or not there."""

    def stat(path):
        if INSTALLED in path.parents:
            raise NotADirectoryError(path)
        owner, mode = found.get(str(path), (0, 0o755))
        return SimpleNamespace(st_uid=owner, st_mode=mode)

    monkeypatch.setattr(hooks, "__file__", str(INSTALLED / "tatu/agent/hooks.py"))
    monkeypatch.setattr(hooks, "_status", stat)


def test_what_root_alone_may_change_is_run(monkeypatch):
    stat_of(monkeypatch, {})
    assert hooks.program(HERE) == INSTALLED


@pytest.mark.parametrize("path", [str(INSTALLED), "/usr/lib/tatu-agent", "/usr"])
@pytest.mark.parametrize("found", [(1000, 0o755), (0, 0o775), (0, 0o757), (0, 0o1777)])
def test_a_program_that_others_may_change_or_replace_is_refused(path, found, monkeypatch):
    stat_of(monkeypatch, {path: found})
    with pytest.raises(AgentError, match=f"{path} is not root's alone.*install it as {INSTALLED}"):
        hooks.program(HERE)


def test_beside_a_host_in_use_it_runs_from_anywhere(monkeypatch, tmp_path):
    stat_of(monkeypatch, {"/usr": (1000, 0o777)})
    beside = Layout(tmp_path, tmp_path / "sshd_config", "/usr/sbin/sshd", "tatu", "")
    assert hooks.program(beside) == INSTALLED


@pytest.mark.parametrize("name", ["breakglass", "sudo"])
def test_what_a_hook_says_and_answers_is_not_lost_at_its_sudden_end(name, tmp_path):
    package = tmp_path / "tatu/agent"
    package.mkdir(parents=True)
    text = "import sys\n\n\ndef main(words):\n    sys.stdout.write(words[0])\n    return 7\n"
    (package / f"{name}.py").write_text(text)
    hook = Path(hooks.__file__).with_name(f"{name}_hook.py")
    command = [sys.executable, "-ISE", hook, tmp_path, "refused"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("refused", 7)
