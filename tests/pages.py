"""Pages of the documentation: their blocks, tables and links, and how their examples are run.

- ``console``: lines that begin with ``$`` are commands, run in this process; what follows is their output, where ``…``
  stands for anything. ``$ echo $?`` shows the exit code; without it the command must end well.
- ``python``: run; blocks with ``>>>`` show their results. What a block defines is there in the page's next ones.
- ``sh``: commands are checked to exist, not run. ``toml``, ``json`` and ``csv`` must be what the engine reads.
"""

from __future__ import annotations

import doctest
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from click.testing import CliRunner

from streams.cli import main

ROOT = Path(__file__).parents[1]
PAGES = {path.relative_to(ROOT).as_posix(): path for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """line: of its first line within the page, from 1."""

    language: str
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 2) for m in _FENCE.finditer(text)]


def prose(text: str) -> str:
    """A page without its blocks; a span that was wrapped is one line again."""
    return re.sub(r"\n(?=\S)", " ", _FENCE.sub("", text))


def words(text: str) -> list[str]:
    """What stands between backticks."""
    return _SPAN.findall(text)


def section(page: str, heading: str) -> str:
    """A page's part under one heading, up to the next."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGES[page].read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page}: no heading {heading}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {position - 1 for position, row in enumerate(cells) if set(row[0]) == {"-"}}
    return [row for position, row in enumerate(cells) if position not in heads and set(row[0]) != {"-"}]


def first_words(text: str) -> list[str]:
    """The words in the first cells of all tables."""
    return [word for row in rows(text) for word in words(row[0])]


# --- examples ---


def matches(shown: str, got: str) -> bool:
    """Equal but for the widths of gaps and rules; ``…`` stands for anything."""
    shown, got = ("\n".join(map(_narrow, text.strip().splitlines())) for text in (shown, got))
    return re.fullmatch(".*?".join(map(re.escape, shown.split("…"))), got, re.DOTALL) is not None


def _narrow(line: str) -> str:
    return re.sub("─+", "─", " ".join(line.split()))


def run_console(text: str, demo_output: str) -> list[str]:
    """What is wrong with a block's commands or what they print."""
    faults = []
    exit_code = 0
    commands = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    for position, command in enumerate(commands):
        line, _, shown = command.partition("\n")
        if line == "echo $?":
            got = str(exit_code)
        elif faulty := unknown_in(line):
            faults.append(faulty)
            continue
        elif line == "make demo":
            got, exit_code = demo_output, 0
        else:
            result = CliRunner().invoke(main, shlex.split(line)[1:], catch_exceptions=False)
            got, exit_code = result.output, result.exit_code
            is_told = commands[position + 1 : position + 2] and commands[position + 1].startswith("echo $?")
            if exit_code and not is_told:
                faults.append(f"$ {line}: exit code {exit_code}")
        if not matches(shown, got):
            faults.append(f"$ {line}\n--- shown\n{shown}\n--- got\n{got}")
    return faults


def run_python(block: Block, names: dict[str, object], page: str) -> list[str]:
    """What is wrong with a block's results; ``names`` lives on in the page's next block."""
    examples = doctest.DocTestParser().get_examples(block.text)
    if not examples:
        exec(compile(block.text, page, "exec"), names)
        return []
    test = doctest.DocTest(examples, names, page, page, block.line - 1, block.text)
    test.globs = names  # it has made a copy
    report = io.StringIO()
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner = doctest.DocTestRunner(optionflags=flags, verbose=False)
    runner.run(test, out=report.write, clear_globs=False)
    return [report.getvalue()] if runner.failures else []


def run_page(text: str, page: str, demo_output: str) -> list[str]:
    names: dict[str, object] = {}
    faults = []
    for block in blocks(text):
        found: list[str] = []
        match block.language:
            case "console":
                found = run_console(block.text, demo_output)
            case "python":
                found = run_python(block, names, page)
        faults += [f"{page}: line {block.line}: {fault}" for fault in found]
    return faults


# --- commands ---


def commands(group: click.Group = main, name: str = "attribution") -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, groups too."""
    yield name, group
    for own_name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {own_name}")
        else:
            yield f"{name} {own_name}", command


def options_of(command: click.Command) -> set[str]:
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("-")}
    return options | {"--help", "-h"}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def unknown_in(line: str) -> str:
    """What a line calls that is not there; empty if all of it is."""
    program, *arguments = shlex.split(line, comments=True)
    if program == "make":
        targets = [word for word in arguments if "=" not in word]
        return "".join(f"make {target}: no such target" for target in targets if target not in make_targets())
    if program.removeprefix(".venv/bin/") != "attribution":
        return f"{line}: neither attribution nor make"
    command: click.Command = main
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name = arguments.pop(0)
        if name not in command.commands:
            return f"{line}: no such command {name}"
        command = command.commands[name]
    unknown = [word for word in arguments if word.startswith("--") and word not in options_of(command)]
    return f"{line}: no such option {unknown[0]}" if unknown else ""


def called(text: str) -> list[str]:
    """Every call of ``attribution`` or ``make`` in a page's shell blocks and running text."""
    shell = [line for block in blocks(text) if block.language == "sh" for line in block.text.splitlines() if line]
    return [*shell, *(span for span in words(prose(text)) if re.match(r"(\.venv/bin/)?attribution |make ", span))]


# --- links ---


def anchors(text: str) -> set[str]:
    """The anchors a reader of Markdown gives to headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(text: str, folder: Path) -> list[str]:
    links = re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", text))
    broken = []
    for link in links:
        file, _, anchor = link.partition("#")
        target = folder / file
        if link.startswith("https://"):
            continue
        is_there = not file or target.exists()
        if not is_there or (anchor and anchor not in anchors(target.read_text() if file else text)):
            broken.append(link)
    return broken
