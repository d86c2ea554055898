"""Artifact files that are damaged, hostile or another app's are refused, and nothing of them stays.

What a reader refuses in detail is proven in test_artifact.py.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sandbox import Sandbox, must_deploy, relative

from nonevent.build.artifact import Artifact
from nonevent.build.zstd import compressing, decompressing
from nonevent.model import tar

if TYPE_CHECKING:
    from collections.abc import Callable

    Expect = Callable[[Path, str], None]
    Change = Callable[[bytes], bytes]

CASES = Path(__file__).parent / "cases" / "transcripts" / "artifact"


def repacked(file: Path, change: Change) -> None:
    """Change the tar inside an artifact."""
    with file.open("rb") as source, decompressing(source) as stream:
        content = stream.read()
    changed = change(content)
    assert changed != content
    with file.open("wb") as out, compressing(out) as stream:
        stream.write(changed)


def relisted(file: Path, change: Change) -> None:
    """Change the list of the app's files, and have the manifest vouch for it."""
    opened = Artifact.open(file)
    raw = change(opened.layers[0].encoded())
    assert raw != opened.layers[0].encoded()
    ref = replace(opened.layers[0].ref, digest=hashlib.sha256(raw).hexdigest())
    manifest = replace(opened.manifest, layers=(ref, *opened.manifest.layers[1:])).encoded()

    def lists(content: bytes) -> bytes:
        start = tar.header("layers/deps.json", size=len(opened.layers[1].encoded()))
        head = b"".join(
            tar.header(path, size=len(text)) + text + tar.padding(len(text))
            for path, text in (("manifest.json", manifest), ("layers/app.json", raw))
        )
        return head + content[content.index(start) :]

    repacked(file, lists)


def truncated(file: Path) -> None:
    """The file ends within its files."""
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


def damaged(file: Path) -> None:
    """A file inside has other bytes than the list says."""
    repacked(
        file, lambda content: content.replace(b"daemon_threads = True", b"daemon_threads = None")
    )


def text(file: Path) -> None:
    """It is something else."""
    file.write_text("It is late, and the wrong file was copied.\n")


def outside(file: Path) -> None:
    """A path leads outside."""
    relisted(file, lambda raw: raw.replace(b'"app/serve.py"', b'"app/../../../../../../evil"'))


def absolute(file: Path) -> None:
    """A path is absolute."""
    relisted(file, lambda raw: raw.replace(b'"app/serve.py"', b'"/etc/cron.d/shop"'))


def link_outside(file: Path) -> None:
    """A link leads outside."""
    relisted(file, lambda raw: raw.replace(b'"link":"shop.py"', b'"link":"../../../../etc/passwd"'))


def set_uid(file: Path) -> None:
    """A file is to be set-uid."""
    relisted(file, lambda raw: raw.replace(b'"mode":420', b'"mode":2541', 1))


def device(file: Path) -> None:
    """A device stands where a file must be."""

    def change(content: bytes) -> bytes:
        place = content.index(b"app/app/serve.py\0")
        block = bytearray(content[place : place + tar.BLOCK])
        block[156:157] = b"3"
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return content[:place] + bytes(block) + content[place + tar.BLOCK :]

    repacked(file, change)


def lies(file: Path) -> None:
    """The manifest names another list than the one that is inside."""
    repacked(file, lambda content: content.replace(b'"app/serve.py"', b'"app/SERVE.py"', 1))


def other_app(file: Path) -> None:
    """It is the artifact of another app."""
    opened = Artifact.open(file)
    old, new = opened.manifest.encoded(), replace(opened.manifest, app="bank").encoded()
    repacked(file, lambda content: content.replace(old, new))


SPOILED: dict[str, tuple[Callable[[Path], None], int]] = {
    "truncated": (truncated, 1),
    "damaged": (damaged, 1),
    "text": (text, 1),
    "outside": (outside, 1),
    "absolute": (absolute, 1),
    "link-outside": (link_outside, 1),
    "set-uid": (set_uid, 1),
    "device": (device, 1),
    "lies": (lies, 1),
    "other-app": (other_app, 2),
}


@pytest.fixture(scope="module")
def made(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of an artifact that is in order, and of no release yet."""
    sandbox = Sandbox(cache)
    (sandbox.path / "link.py").symlink_to("shop.py")
    sandbox.commit()
    folder = tmp_path_factory.mktemp("made")
    sandbox.type("build", "-o", str(folder)).must(0)
    sandbox.end()
    (file,) = folder.iterdir()
    return file.read_bytes()


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_artifact_is_refused(
    serving: Sandbox, expect: Expect, made: bytes, tmp_path: Path, name: str
) -> None:
    """An artifact that is not what it must be is refused by name, and nothing of it stays."""
    spoil, status = SPOILED[name]
    file = tmp_path / "shop.tar.zst"
    file.write_bytes(made)
    spoil(file)
    before, layers = serving.remains(), sorted((serving.root / "layers").iterdir())
    ran = serving.type("deploy", "local", str(file)).must(status)
    assert serving.remains() == before
    assert sorted((serving.root / "layers").iterdir()) == layers
    told = serving.told(ran).replace(str(tmp_path), "FOLDER")
    expect(CASES / f"{name}.txt", relative(told, serving.number()))


def test_what_is_in_order_is_deployed(serving: Sandbox, made: bytes, tmp_path: Path) -> None:
    """The same artifact unspoiled is deployed by its file name, and the next commit after it."""
    file = tmp_path / "shop.tar.zst"
    file.write_bytes(made)
    serving.type("deploy", "local", str(file)).must(0)
    assert serving.get() == "version one"
    must_deploy(serving, "after the file")
