"""How large a change is: the files that differ between two states of the tree, compressed."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def digests(tree: Path) -> dict[str, str]:
    """Each file of a tree by its path; byte code only follows from sources."""
    return {
        str(path.relative_to(tree)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in tree.rglob("*")
        if path.is_file() and not path.is_symlink() and path.suffix != ".pyc"
    }


def compressed(tree: Path, before: Mapping[str, str]) -> int:
    """Bytes of what is new or different in the tree, with its byte code, as tar in zstd -3."""
    names = [name for name, digest in digests(tree).items() if before.get(name) != digest]
    for name in tuple(names):
        source = tree / name
        code = source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc"
        if source.suffix == ".py" and code.exists():
            names.append(str(code.relative_to(tree)))
    packed = subprocess.run(
        ("sh", "-c", "tar -c --null -T - | zstd -q -3 -c | wc -c"), cwd=tree, check=True,
        input="\0".join(names), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return int(packed.stdout)
