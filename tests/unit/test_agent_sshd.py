import socket
import threading

import pytest

from tatu.agent import sshd
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.sshd import Wanted


class Port:
    """A port of loopback that says something to whoever connects."""

    def __init__(self):
        self.said = b"SSH-2.0-x\r\n"
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.number = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.sendall(self.said)

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def port():
    port = Port()
    yield port
    port.close()


@pytest.fixture
def listening(monkeypatch):
    """Set where `sshd -T` says that it listens."""

    def at(*addresses):
        shown = {("listenaddress", address) for address in addresses} | {("port", "22")}
        monkeypatch.setattr(sshd, "effective", lambda _: shown)

    return at


def test_only_where_sshd_greets_before_a_change_is_it_looked_for_after(port, listening):
    listening(f"0.0.0.0:{port.number}", "127.0.0.1:1", "[::1]:1")
    assert sshd.answering(None) == [("127.0.0.1", port.number)]
    port.said = b"HTTP/1.1 400\r\n"
    assert sshd.answering(None) == []


@pytest.mark.parametrize(
    ("shown", "address"),
    [
        ("[::]:22", ("::1", 22)),
        ("0.0.0.0:2222", ("127.0.0.1", 2222)),
        ("[fe80::1%eth0]:22", ("fe80::1%eth0", 22)),
        ("192.0.2.7:22 rdomain 4", ("192.0.2.7", 22)),
    ],
)
def test_an_address_is_read_as_sshd_shows_it(shown, address, listening, monkeypatch):
    monkeypatch.setattr(sshd, "_greets", lambda _: True)
    listening(shown)
    assert sshd.answering(None) == [address]


def test_one_that_is_silent_after_the_change_is_found(port, monkeypatch):
    monkeypatch.setattr(sshd, "_PATIENCE", 0.1)
    sshd.check_answers([("127.0.0.1", port.number)])
    sshd.check_answers([])
    port.said = b""
    with pytest.raises(AgentError, match=f"answers no more at 127.0.0.1 port {port.number}"):
        sshd.check_answers([("127.0.0.1", port.number)])


@pytest.mark.parametrize(("more", "addresses"), [("", 1), ("Match Address 10.0.0.0/8\n", 4)])
def test_each_account_is_asked_for_from_elsewhere_where_others_have_blocks(
    more, addresses, tmp_path, monkeypatch
):
    config = tmp_path / "etc/ssh/sshd_config"
    layout = Layout(tmp_path, config, "sshd", "tatu", "")
    wanted = Wanted(certificates=(), break_glass=None, refusing=False)
    layout.drop_in.parent.mkdir(parents=True)
    layout.drop_in.write_bytes(sshd.drop_in(layout, wanted))
    config.write_text(f"Include {layout.drop_in}\n{more}")
    asked = []

    def effective(_, arguments=()):
        asked.extend(arguments[1:])
        settings = sshd._settings(layout, wanted)
        return {(name.lower(), value) for name, value in settings.items()}

    monkeypatch.setattr(sshd, "effective", effective)
    sshd.prove(layout, wanted, ["admin", "member"])
    assert len(set(asked)) == len(asked) == 2 * addresses
    assert {text.partition(",")[0] for text in asked} == {"user=admin", "user=member"}
