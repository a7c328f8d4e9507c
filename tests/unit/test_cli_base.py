"""What the server says, as it is shown."""

import io
import itertools
from types import SimpleNamespace

import pytest
from rich.cells import cell_len

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


LONG = {
    "serial": 12345,
    "key_id": "alice@demo [bold]12345[/bold] 日本",
    "principals": ["admin", "demo-operators"],
    "valid_after": "2026-01-31T12:00:00Z",
    "valid_before": "2026-01-31T13:00:00Z",
    "subject_key": f"SHA256:{'k' * 43}",
    "revoked_at": "2026-01-31T12:30:00Z",
    "revoked_reason": "the laptop was stolen",
    "authority": "0123456789abcdef" * 2,
    "alarm": None,
}


def printed(base, found, *options, terminal):
    """Return the lines of a list, or of one resource, as a command prints it."""
    output = Output(terminal=terminal)
    kind = base.Lister if isinstance(found, list) else base.ShowOne
    body = {"__module__": __name__, "take_action": lambda *_: None}
    command = type("Shown", (kind,), body)(SimpleNamespace(stdout=output), None)
    if isinstance(found, list):
        shown = base.table(tuple(LONG), [SimpleNamespace(**each) for each in found])
    else:
        shown = base.attributes(tuple(LONG), SimpleNamespace(**found))
    command.take_action = lambda _: shown
    command.run(command.get_parser("tatu").parse_args(options))
    return output.getvalue().splitlines()


def cells(lines):
    """Yield what the cells of a table say, whose parts stand below one another."""
    for border, row in itertools.groupby(lines, lambda line: line.startswith("+")):
        if not border:
            for parts in zip(*(line.split("|")[1:-1] for line in row), strict=True):
                yield "".join(parts).replace(" ", "")


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("found", [[LONG, LONG], LONG], ids=["list", "one"])
@pytest.mark.parametrize("kind", ["xterm-256color", "dumb"])
def test_a_table_fits_the_terminal_and_keeps_every_character(
    base, monkeypatch, width, found, kind
):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", kind)
    lines = printed(base, found, terminal=True)
    assert {cell_len(line) for line in lines} == {cell_len(lines[0])}
    assert cell_len(lines[0]) <= width
    told = " ".join(cells(lines))
    for value in LONG.values():
        for word in value if isinstance(value, list) else [value]:
            assert str(word or "").replace(" ", "") in told


def test_a_list_whose_columns_would_be_too_narrow_shows_each_row_by_itself(base, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = printed(base, [LONG, LONG], terminal=True)
    assert [line.split("|")[1].strip() for line in lines if line.startswith("|")] == [
        "Field",
        *(name for name in LONG if name != "alarm"),
        *(name for name in LONG if name != "alarm"),
    ]
    assert [line.startswith("+") for line in lines].count(True) == 4


def test_a_list_that_is_too_wide_loses_the_columns_that_are_empty(base, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert "alarm" not in "".join(printed(base, [LONG], terminal=True))
    monkeypatch.setenv("COLUMNS", "400")
    assert "alarm" in printed(base, [LONG], terminal=True)[1]


@pytest.mark.parametrize("options", [[], ["-f", "json"], ["-f", "value"], ["-f", "csv"]])
def test_pipes_get_everything_unfolded(base, monkeypatch, options):
    monkeypatch.setenv("COLUMNS", "40")
    text = "\n".join(printed(base, [LONG], *options, terminal=False))
    assert LONG["subject_key"] in text
    assert LONG["key_id"] in text or r"\u65e5" in text
    assert options == ["-f", "value"] or "alarm" in text


@pytest.mark.parametrize("options", [["-f", "json"], ["-f", "value"], ["-f", "csv"]])
def test_formats_for_programs_are_the_same_at_a_terminal(base, monkeypatch, options):
    monkeypatch.setenv("COLUMNS", "40")
    assert printed(base, [LONG], *options, terminal=False) == printed(
        base, [LONG], *options, terminal=True
    )


def test_an_empty_list_is_as_empty_at_a_terminal(base):
    assert printed(base, [], terminal=False) == printed(base, [], terminal=True)
