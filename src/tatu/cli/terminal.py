"""Tables for whoever sits at a terminal: never wider than it is, so that it breaks no line."""

import argparse
import shutil
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import TextIO

from cliff.columns import FormattableColumn
from rich.box import ASCII2
from rich.console import Console
from rich.table import Table
from rich.text import Text

_FIELDS = ("Field", "Value")
_LEGIBLE = 10  # what a column needs at least: the date of a time, below it the hour


class TerminalTable:
    """Does at a terminal what cliff's formatter of tables does elsewhere.

    That one breaks no column below eight characters, and so overflows with many columns.
    """

    def emit_list(
        self,
        column_names: Sequence[str],
        data: Iterable[Sequence[object]],
        stdout: TextIO,
        parsed_args: argparse.Namespace,
    ) -> None:
        """Print a list; one that is too wide loses the columns that are empty, and is folded.

        Where its columns would be too narrow to be read, each row stands by itself as a resource.
        """
        width = parsed_args.max_width
        if width <= 0:
            width = shutil.get_terminal_size().columns
        names = [Text(name) for name in column_names]
        rows = [[_text(value) for value in row] for row in data]
        if not rows and not parsed_args.print_empty:
            stdout.write("\n")
            return
        wide = _needs(names, rows) > width
        if wide and rows:
            told = [any(row[place] for row in rows) for place in range(len(names))]
            names = list(compress(names, told))
            rows = [list(compress(row, told)) for row in rows]
            wide = _needs(names, rows) > width
        by_itself = wide and 1 + len(names) * (3 + _LEGIBLE) > width
        table = Table(box=ASCII2, show_lines=wide and not by_itself and column_names != _FIELDS)
        for name in _FIELDS if by_itself else names:
            table.add_column(name, overflow="fold")
        for row in rows:
            if by_itself:
                for field in zip(names, row, strict=True):
                    table.add_row(*field)
                table.add_section()
            else:
                table.add_row(*row)
        Console(file=stdout, width=width, color_system=None, force_terminal=False).print(table)

    def emit_one(
        self,
        column_names: Sequence[str],
        data: Iterable[object],
        stdout: TextIO,
        parsed_args: argparse.Namespace,
    ) -> None:
        """Print one resource, a row for each attribute."""
        rows = list(zip(column_names, data, strict=True))
        self.emit_list(_FIELDS, rows, stdout, parsed_args)


def _text(value: object) -> Text:
    """Return a value as text, in which no word is markup."""
    return Text(str(value.human_readable() if isinstance(value, FormattableColumn) else value))


def _needs(names: Sequence[Text], rows: Sequence[Sequence[Text]]) -> int:
    """Return how wide a table is that nothing is folded in."""
    columns = zip(names, *rows, strict=True)
    widths: list[int] = [max(cell.cell_len for cell in column) for column in columns]
    return 1 + sum(3 + width for width in widths)
