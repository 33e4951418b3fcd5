"""`llmbook.datasets`: the files are those that were published, and say what their readers expect."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from llmbook import datasets
from llmbook.datasets import (
    DATA,
    MAKE,
    SOURCES,
    Source,
    analogy_questions,
    glove,
    main,
    sotu,
    weat_words,
    word_similarities,
)
from llmbook.spoken import SOURCE as SPOKEN


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.file)
def test_files_are_whole_small_and_can_be_made_again(source: Source) -> None:
    """Each has the hash of its record, at most 4 MB, a licence, and a function that makes it."""
    content = (DATA / source.file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == source.sha256
    assert len(content) <= 4_000_000
    assert source.licence
    assert source.file in MAKE


def test_every_data_file_has_a_record() -> None:
    """But those that were typed in, and results, which have a test of their own."""
    files = {path.name for path in DATA.iterdir() if path.is_file()}
    assert files == {source.file for source in (*SOURCES, SPOKEN)} | {
        "weat.json",
        "senses.json",
        "fewshot.json",
    }


def test_addresses_are_in_order_and_long() -> None:
    """233 of them from Washington on, with about 1.8 million words."""
    addresses = sotu()
    years = [address.year for address in addresses]
    assert (len(addresses), years[0], years[-1]) == (233, 1790, 2021)
    assert years == sorted(years)
    assert addresses[0].president == "George Washington"
    assert 1.7e6 < sum(len(address.text.split()) for address in addresses) < 1.9e6
    assert min(len(address.text.split()) for address in addresses) > 900
    assert [a for a in addresses if a.year >= 1900] == sotu(since=1900)


def test_glove_knows_the_frequent_words_and_those_of_weat() -> None:
    """No word twice, all in lower case, and the most frequent word first."""
    words, vectors = glove()
    assert vectors.shape == (len(words), 100)
    assert vectors.dtype == np.float32
    assert len(set(words)) == len(words) >= 20_000
    assert words[0] == "the"
    assert all(word == word.lower() for word in words)
    asked = {word for group in weat_words().values() for word in group}
    assert asked - set(words) == {"gladiola"}  # too rare for GloVe itself


def test_questions_and_similarities_are_the_published_ones() -> None:
    """19,544 questions of fourteen kinds, 353 pairs."""
    questions = analogy_questions()
    assert len(questions) == 14
    assert sum(map(len, questions.values())) == 19_544
    pairs = word_similarities()
    assert len(pairs) == 353
    assert all(0 <= score <= 10 for *_, score in pairs)
    assert ("tiger", "tiger", 10.0) in pairs


def test_weat_sets_are_as_large_as_the_papers() -> None:
    """25 of the first six, 32 names each, eight of the rest; and none has a word twice."""
    sizes = {name: len(words) for name, words in weat_words().items()}
    assert [sizes[name] for name in list(sizes)[:6]] == [25] * 6
    assert sizes["european american names"] == sizes["african american names"] == 32
    assert set(list(sizes.values())[8:]) == {8}
    assert all(len(set(words)) == len(words) for words in weat_words().values())


def test_what_is_made_otherwise_is_kept_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that comes out with another hash does not replace the right one."""
    monkeypatch.setattr(datasets, "DATA", tmp_path)
    right = hashlib.sha256(b"right").hexdigest()
    sources = [Source(f"{name}.txt", "npm: a@1", "CC0", right, "") for name in ("same", "other")]
    monkeypatch.setattr(datasets, "SOURCES", sources)
    made = {"same.txt": b"right", "other.txt": b"wrong"}
    monkeypatch.setattr(
        datasets, "MAKE", {name: lambda package, c=content: c for name, content in made.items()}
    )
    (tmp_path / "other.txt").write_bytes(b"right")
    with pytest.raises(SystemExit, match=r"other\.txt has the hash .* kept as other\.txt\.new"):
        main()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "same.txt": b"right",
        "other.txt": b"right",
        "other.txt.new": b"wrong",
    }
    assert "same.txt: 5 bytes from npm: a@1" in capsys.readouterr().out


def test_the_word_sets_are_plain_json() -> None:
    """One string a set, so that a reader can check them against the paper."""
    assert all(
        isinstance(words, str)
        for words in json.loads((DATA / "weat.json").read_text("utf-8")).values()
    )
