"""File lists in pieces: laws of the cut."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from nonevent.model import pieces
from nonevent.model.manifest import File, Layer

TEXTS = st.lists(st.sampled_from((b"a", b"},{", b"},", b"{", b"bc")), max_size=40).map(b"".join)


@given(TEXTS, st.integers(1, 9))
def test_pieces_make_up_the_text(text: bytes, rows: int) -> None:
    """Whatever is cut, the pieces joined are the same text."""
    assert pieces.join(pieces.cut(text, rows)) == text


@given(TEXTS, st.integers(1, 9), st.sets(st.integers(0, 40)))
def test_some_pieces_joined_are_cut_into_the_same(text: bytes, rows: int, some: set[int]) -> None:
    """So the lacking pieces can travel as one text, without a word on where each ends."""
    cut = pieces.cut(text, rows)
    chosen = tuple(cut[number] for number in sorted(some) if number < len(cut))
    if chosen:
        assert pieces.cut(pieces.join(chosen), rows) == chosen


def test_a_change_makes_few_pieces_new() -> None:
    """One changed, one new and one removed file of 5,000 renew six pieces at most."""
    digest = hashlib.sha256(b"").hexdigest()
    names = [f"lib/{hashlib.sha256(str(n).encode()).hexdigest()[:9]}" for n in range(5000)]
    sizes = dict.fromkeys(sorted(names), 1)

    def cut() -> set[bytes]:
        files = (
            File(path=name, mode=0o644, size=size, digest=digest)
            for name, size in sorted(sizes.items())
        )
        layer = Layer(name="deps", entries=tuple(files))
        return set(pieces.cut(layer.encoded(), pieces.rows_in_a_piece(5000)))

    before = cut()
    sizes[names[0]] = 2
    sizes["lib/new"] = 1
    del sizes[names[1]]
    after = cut()
    assert len(before) > 300
    assert len(after - before) <= 6
