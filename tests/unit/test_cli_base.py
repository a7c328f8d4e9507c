"""What the server says, as it is shown."""

import io
from types import SimpleNamespace

import pytest

# osc_lib warns of a module of its own when it is imported
pytestmark = pytest.mark.filterwarnings("ignore:The osc_lib.version module is deprecated")


@pytest.fixture
def base():
    from tatu.cli import base  # noqa: PLC0415 -- as above

    return base


@pytest.mark.parametrize("text", ["\x1b[2J", "a\rb", "a\nb", "\x9b31m", "\u202eb", "\x07"])
def test_what_the_server_says_does_not_steer_the_terminal(base, text):
    assert str(base.shown(text)).isprintable()
    words = base.shown([f"x{text}", "y"])
    assert isinstance(words, base.Words)
    assert words.human_readable().isprintable()
    assert all(word.isprintable() for word in words.machine_readable())


def test_a_line_that_is_printable_is_shown_as_it_is(base):
    assert base.shown("Zoë 日本 ssh-ed25519 AAAA") == "Zoë 日本 ssh-ed25519 AAAA"


class Output(io.StringIO):
    """What a command prints to, which may be a terminal."""

    def __init__(self, *, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "options", "alone"),
    [(True, [], True), (False, [], False), (True, ["-f", "json"], False),
     (True, ["-f", "value", "-c", "token"], True)],
)  # fmt: skip
def test_at_a_terminal_the_token_has_a_line_of_its_own(terminal, options, alone):
    from tatu.cli.token import TokenCreate  # noqa: PLC0415 -- as above

    output = Output(terminal=terminal)
    command = TokenCreate(SimpleNamespace(stdout=output), None)
    asked = command.get_parser("tatu").parse_args(["db", *options])
    command.take_action = lambda _: (("host", "token"), ("db", "t" * 300))
    command.run(asked)
    lines = output.getvalue().splitlines()
    assert ("t" * 300 in lines) == alone
