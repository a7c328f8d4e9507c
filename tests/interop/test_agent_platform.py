"""An instance enrols by what its platform tells it, and tries until it is let in (S11)."""

import json
import shutil
from datetime import UTC, datetime

import pytest

from tatu.agent import platform, unit
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.state import Store
from tests.fakes.agent_host import GROUP, AgentHost

SEED = "var/lib/cloud/seed/config_drive/openstack/latest"


class Instance:
    """An instance whose metadata service is not there, and what its drive tells it."""

    def __init__(self, root, keys, monkeypatch):
        self.files = AgentHost(root, keys)
        self.monotonic = 100.0
        monkeypatch.setattr(platform.time, "monotonic", lambda: self.monotonic)
        monkeypatch.setattr(platform, "_asked", self.ask)
        self.asked = 0
        self.layout = Layout(
            root=root,
            sshd_config=self.files.config,
            sshd="/usr/sbin/sshd",
            group=GROUP,
            reload_command="true",
        )
        self.store = Store(self.layout.state)
        self.enrol = platform.Enrolment(
            self.layout, self.store, lambda: datetime.now(UTC), None, insecure_http=False
        )

    def ask(self):
        self.asked += 1
        raise AgentError("the metadata service is away")

    def tell(self, tatu, folder=SEED, **changes):
        """Put what Nova would into a file that is read at each boot."""
        keys = [tatu.statement_key.public.line, tatu.next_statement_key.public.line]
        told = {
            "version": 1,
            "authority": "blue",
            "host": "db-1",
            "url": tatu.url,
            "statement_keys": keys,
            "token": tatu.token,
        } | changes
        place = self.layout.root / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / "vendor_data2.json").write_text(json.dumps({"tatu": told}))

    @property
    def host(self):
        state = self.store.load()
        return state and state.host


@pytest.fixture
def instance(tmp_path, keys, monkeypatch):
    return Instance(tmp_path / "host", keys, monkeypatch)


def test_an_instance_enrols_once_by_what_its_drive_tells_it(instance, tatu):
    instance.tell(tatu)
    assert "enrolled as db-1" in instance.enrol()[0]
    assert instance.enrol() == []
    assert instance.host == "db-1"


def test_the_service_is_asked_when_the_drive_tells_of_no_token_any_more(instance, tatu):
    instance.tell(tatu, token="")
    with pytest.raises(AgentError, match="; the metadata service is away"):
        instance.enrol()
    assert instance.asked == 1


def test_pauses_double_to_five_minutes_and_nobody_is_asked_between(instance):
    instance.enrol._pauses = platform.pauses(lambda _, longest: longest)
    waited, before = [], instance.monotonic
    for asked in range(1, 13):
        while instance.asked < asked:
            with pytest.raises(AgentError, match="is away"):
                instance.enrol()
            instance.monotonic += 1
        waited.append(instance.monotonic - 1 - before)
        before = instance.monotonic - 1
    assert waited == [0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_those_who_boot_at_once_come_again_at_other_moments():
    longest = [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    guests = [platform.Enrolment(None, None, None, None, False)._pauses for _ in range(50)]
    for most in longest:
        drawn = [next(pauses) for pauses in guests]
        assert most / 2 <= min(drawn) < max(drawn) <= most
        assert len(set(drawn)) > 25


def test_an_enrolment_that_is_in_an_image_is_not_this_machines(instance, tatu):
    instance.tell(tatu)
    instance.enrol()
    (instance.layout.root / "etc/machine-id").write_text("another\n")
    shutil.rmtree(instance.layout.root / "var/lib/cloud")
    with pytest.raises(AgentError, match="is away"):
        instance.enrol()


def test_a_drive_is_read_and_left_alone(instance, tatu):
    instance.tell(tatu, folder="content/openstack/latest")
    drive = instance.layout.root / "dev/disk/by-label/config-2"
    drive.parent.mkdir(parents=True)
    drive.touch()
    mounted = []

    def run(words, **_):
        mounted.append(words)
        if words[0] == "mount":
            shutil.copytree(instance.layout.root / "content", words[-1], dirs_exist_ok=True)
        return b""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platform, "run", run)
        assert instance.enrol()
    assert [words[0] for words in mounted] == ["mount", "umount"]
    assert "ro,nosuid,nodev,noexec" in mounted[0]


def test_the_unit_runs_the_agent_by_words_that_systemd_reads_as_they_are():
    options = ["--ca-file=/etc/a $b %c", "--reload-command=sh -c 'echo \\1 \"\"'"]
    text = unit.text("/usr/lib/tatu-agent/tatu-agent", options)
    (line,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    assert line.endswith(
        ' run "--ca-file=/etc/a $$b %%c" "--reload-command=sh -c \'echo \\\\1 \\"\\"\'"'
    )


def test_the_unit_is_set_up_for_the_next_boot_where_no_systemd_runs(instance):
    assert unit.setup(instance.layout, ["--platform"])
    written = instance.layout.root / "etc/systemd/system" / unit.NAME
    assert "tatu-agent run --platform\n" in written.read_text()
