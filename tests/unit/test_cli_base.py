"""What the server says, as it is shown."""

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
