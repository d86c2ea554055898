"""The reference page of the configuration file, made from the annotated file."""

from __future__ import annotations

from importlib.resources import files

_INTRODUCTION = """\
# Configuration

<!-- Made from src/nonevent/config/annotated.toml: `python -m nonevent.config.reference`. -->

"""


def annotated() -> str:
    """The annotated file: every key, its default and its meaning, as valid TOML."""
    return (files("nonevent.config") / "annotated.toml").read_text(encoding="utf-8")


def reference() -> str:
    """The page, as Markdown. In the annotated file ``#:`` starts a section."""
    introduction, *sections = annotated().split("\n#: ")
    page = [_INTRODUCTION, _prose(introduction), "\n"]
    for section in sections:
        title, _, body = section.partition("\n")
        page.append(f"\n## {title}\n\n```toml\n{body.strip()}\n```\n")
    return "".join(page)


def _prose(comment: str) -> str:
    return "\n".join(line.removeprefix("#").strip() for line in comment.strip().splitlines())


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201
