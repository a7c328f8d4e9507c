"""Hold the threat model to its word: each row names tests, and each of them exists."""

import ast
import re
import sys
from pathlib import Path

REFERENCE = re.compile(r"`(tests/[\w/.]+\.py)::(\w+)`")
ROW = re.compile(r"^\|(?!\s*-{2,}|\s*:?-)(.+)\|\s*$")
HEADER = re.compile(r"^\|[\s:|-]+\|\s*$")


def tests_in(path: Path) -> frozenset[str]:
    """Return the names of the test functions in a file, of classes too."""
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def problems(document: Path) -> list[str]:
    """Return what is wrong with a threat model, a line each."""
    found = []
    lines = document.read_text().splitlines()
    for number, text in enumerate(lines, 1):
        if not ROW.match(text) or HEADER.match(text):
            continue
        if number < len(lines) and HEADER.match(lines[number]):
            continue  # the head of a table
        references = REFERENCE.findall(text)
        if not references:
            found.append(f"{document}:{number}: this row names no test")
        found.extend(
            f"{document}:{number}: there is no test {name} in {path}"
            for path, name in references
            if name not in tests_in(Path(path))
        )
    return found


def main() -> int:
    """Check the documents named on the command line."""
    found = [problem for name in sys.argv[1:] for problem in problems(Path(name))]
    for problem in found:
        sys.stderr.write(problem + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
