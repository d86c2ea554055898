"""The documentation: it says what is there, and its commands do what it says."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from pages import blocks, run_page, same

from nonevent.cli.__main__ import commands
from nonevent.cli.reference import EVENTS, reference
from nonevent.config.read import read_app
from nonevent.config.reference import annotated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox import Sandbox

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COMMANDS = DOCS / "reference" / "commands.md"
README = ROOT / "README.md"
TUTORIAL = DOCS / "tutorial" / "first-deploy.md"
PAGES = sorted({*ROOT.glob("*.md"), *DOCS.rglob("*.md")})
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
LINK = re.compile(r"(?<!!)\[[^]]*\]\(([^)\s]+)\)")
"""A link of Markdown to another place."""
COMMAND = re.compile(r"(?:^\$? ?|`|&& |/)nonevent ([a-z]+)\b(.*)", re.MULTILINE)
"""A command as somebody would type it."""
SOMETIMES = {"note", "unlocked"}
"""Events that do not always have all their keys."""
WEB = '\n[services.web]\ncommand = "serve {socket}"\n'


def test_tutorial(expect: Callable[[Path, str], None]) -> None:
    """A newcomer who types what the tutorial says sees what it shows."""
    expect(TUTORIAL, run_page(TUTORIAL.read_text(encoding="utf-8")))


def test_readme(expect: Callable[[Path, str], None]) -> None:
    """The transcript in the README is what its commands write for the tutorial's shop."""
    text = README.read_text(encoding="utf-8")
    expect(README, run_page(text, before=TUTORIAL.read_text(encoding="utf-8")))


def test_pages_can_be_wrong() -> None:
    """What differs between runs is passed over, and a line left out; another word is not."""
    shown = ("release 1 (3b8cbfa) serves", "...", "web-1  drained  0.6 s")
    assert same(shown, ("release 1 (1b0b06f) serves", "more", "and more", "web-1 drained  12.0 s"))
    assert not same(shown, ("release 1 (1b0b06f) serves", "web-1 stopped  0.6 s"))
    assert not same(shown, ("release 2 (3b8cbfa) serves", "web-1 drained  0.6 s"))


def test_commands_are_made_from_the_code() -> None:
    """The committed page of the commands is the one that the commands give."""
    assert COMMANDS.read_text(encoding="utf-8") == reference()


def test_every_command_and_option_is_in_the_reference() -> None:
    """No command and no option is missing from the page of the commands."""
    page = COMMANDS.read_text(encoding="utf-8")
    for name, command in commands().items():
        assert f"\n### {name}\n" in page
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                for option in parameter.opts:
                    assert re.search(rf"[`\s]{option}[`,\s]", page), f"{name} {option}"


def test_the_list_of_commands_has_whole_sentences() -> None:
    """On a terminal of 80 columns no command's line in the help is cut short."""
    limit = 80 - 6 - max(map(len, commands()))
    lines = {each.get_short_help_str(limit) for each in commands().values()}
    assert not [line for line in lines if line.endswith("...")]


def test_every_event_is_in_the_reference() -> None:
    """The page of the commands names the events that the code emits, and no others."""
    sources = [
        *(ROOT / "src/nonevent/cli").glob("*.py"),
        *(ROOT / "src/nonevent").glob("agent/**/*.py"),
        *(ROOT / "src/nonevent/deploy").glob("*.py"),
        *(ROOT / "src/nonevent/transport").glob("*.py"),
    ]
    emitted = {name for path in sources for name in events(ast.parse(path.read_text()))}
    assert emitted == set(EVENTS)


def test_events_have_the_keys_of_the_reference(sandbox: Sandbox) -> None:
    """The events of a deploy and of all that looks at it have the keys that the page names."""
    sandbox.says("well")
    (config := sandbox.path / "nonevent.toml").rename(aside := sandbox.path / "aside")
    sandbox.type("init", "--json")
    aside.rename(config)
    typed = [
        sandbox.type(*words.split(), "--json").must(status)
        for words, status in (
            ("check", 0), ("build", 0), ("plan local", 0), ("deploy local", 0), ("status local", 0),
            ("releases local", 0), ("logs local", 0), ("lock local --reason why", 0),
            ("stop local", 5), ("unlock local", 0), ("prune local", 0), ("stop local", 0),
            ("deploy nowhere", 2),
        )
    ]  # fmt: skip
    (artifact,) = (sandbox.path / ".nonevent" / "artifacts").iterdir()
    typed.append(sandbox.type("verify", str(artifact), "--list", "--json").must(0))
    seen = set()
    for event in (each for ran in typed for each in ran.events()):
        name = event.pop("event")
        seen.add(name)
        assert {*event} <= {*EVENTS[name][0].split()}, name
        if name not in SOMETIMES:
            assert {*event} == {*EVENTS[name][0].split()}, name
    assert seen >= {"built", "done", "file", "plan", "release", "serving", "status", "would"}


def events(tree: ast.AST) -> Iterator[str]:
    """The names of events in a module: ``….event("name", …)`` and ``{"event": "name", …}``."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="event"), args=[ast.Constant(value=str(name)), *_]
            ):
                yield name
            case ast.Dict(
                keys=[ast.Constant(value="event"), *_], values=[ast.Constant(value=name), *_]
            ):
                yield str(name)


def test_every_key_is_in_the_reference() -> None:
    """Every key of the annotated configuration stands on the page of the configuration."""
    page = (DOCS / "reference" / "configuration.md").read_text(encoding="utf-8")
    for key in keys(tomllib.loads(annotated())):
        assert re.search(rf"(^|[\s.\[{{,]){key}( =|[.\]])", page, re.MULTILINE), key


def keys(table: dict[str, object]) -> Iterator[str]:
    """All keys of a table, and of the tables in it."""
    for key, value in table.items():
        yield key
        if isinstance(value, dict):
            yield from keys(value)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """Every link within this repository leads to a file, and to a heading if it names one."""
    text = page.read_text(encoding="utf-8")
    for link in LINK.findall(text):
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        goal = (page.parent / name) if name else page
        assert goal.exists(), f"{page.name} links to {link}"
        if heading:
            assert heading in anchors(goal.read_text(encoding="utf-8")), link


def anchors(text: str) -> set[str]:
    """The names by which a page's headings can be linked to, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_commands_exist(page: Path) -> None:
    """Every command that a page names exists, and has the options that stand with it."""
    for name, rest in COMMAND.findall(page.read_text(encoding="utf-8")):
        command = commands()[name]
        known = {"--help", "-h"} | {option for each in command.params for option in each.opts}
        words = re.split(r" --[ `]| && | #|[|`)]", f"{rest} ")[0].split()
        given = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert given <= known, f"nonevent {name} {rest}"


@each_page
def test_configurations_are_right(page: Path) -> None:
    """Every piece of a configuration that a page shows is one."""
    for block in blocks(page.read_text(encoding="utf-8")):
        text = "\n".join(block.lines)
        if block.info != "toml" or "\n[environments.production]" in text:
            continue
        web = "" if "web" in tomllib.loads(text).get("services", {}) else WEB
        app = "" if re.search("^app =", text, re.MULTILINE) else 'app = "shop"\n'
        read_app(f"{app}{text}\n{web}", "nonevent.toml")


@each_page
def test_pages_are_plain(page: Path) -> None:
    """No page says "successfully", calls out, or decorates itself."""
    code = re.compile(r"```.*?```|`[^`]*`|<!--.*?-->", re.DOTALL)
    text = code.sub("", page.read_text(encoding="utf-8"))
    assert not re.findall(r"\b[Ss]uccessfully\b|!(?!\[)|[\U0001f300-\U0001faff\u2705]", text)
