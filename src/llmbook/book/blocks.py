"""The book's own fences: corrections, references, outline, seeds, calculators. Made from data.

A fence such as

    ```correction
    gpt-before-bert
    ```

becomes the visible note of that row of `data/corrections.yaml`. Nothing is executed: these are
texts, kept once and shown in several places.
"""

import html
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml

from llmbook.book import explorer, wordmap
from llmbook.book.calculators import TABLES, calculator
from llmbook.book.seeds import seeds
from llmbook.experiments import explored
from llmbook.experiments import wordmap as mapped
from llmbook.weave import blocks
from llmbook.weave.chapter import SUFFIXES, WeaveError, read_chapter
from llmbook.weave.configuration import Site
from llmbook.weave.reading import reading_minutes, reading_order
from llmbook.weave.store import kept, storing

T = TypeVar("T")

FIELDS = {"id", "claim", "verdict", "lesson", "right", "sources", "page"}
TITLE = "Correction to the lesson"
NOTED = re.compile(  # the last line of a paragraph or list before a note, whose mark it gets
    r"(?m)^((?![|<#`~:]|!!!|\?\?\?)[ \t]*[^\n]*[^\s|>`])"
    r"(?=\n\n<details class=\"correction\"[^\n]*\n[^\n]*\n<p [^>]*id=\"(correction-[\w-]+)\")"
)
VERDICTS = {
    "imprecise": "imprecise",
    "wrong": "wrong",
    "unverifiable": "not verifiable",
    "dated": "dated",
}


def corrections(docs: Path) -> dict[str, dict[str, Any]]:
    """The rows of `data/corrections.yaml` by id, checked.

    Args:
        docs: The folder that holds `data/`.

    Returns:
        Each row with `id`, `verdict`, `lesson`, `right`, `sources`, `page` and perhaps `claim`;
        none, if there is no such file.

    Raises:
        ValueError: If a row lacks a field, has an unknown one, or an id comes twice.
    """
    file = docs / "data/corrections.yaml"
    rows: dict[str, dict[str, Any]] = {}
    for row in yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else ():
        name = row.get("id")
        if wrong := (set(row) - FIELDS) | (FIELDS - {"claim"} - set(row)):
            raise ValueError(f"corrections.yaml: row {name!r} has wrong or missing fields {wrong}")
        if row["verdict"] not in VERDICTS:
            raise ValueError(
                f"corrections.yaml: {name!r} has the unknown verdict {row['verdict']!r}"
            )
        if name in rows:
            raise ValueError(f"corrections.yaml: id {name!r} comes twice")
        rows[name] = row
    return rows


def errata(docs: Path) -> list[dict[str, Any]]:
    """The rows of `data/errata.yaml`: what this book itself said wrongly, checked.

    Args:
        docs: The folder that holds `data/`.

    Returns:
        Each row with `page`, what `stood` there, what is `right`, and `since` when; the newest
        first; none, if there is no such file.

    Raises:
        ValueError: If a row has other fields, or its date is none.
    """
    file = docs / "data/errata.yaml"
    rows = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else []
    for number, row in enumerate(rows, 1):
        if set(row) != {"page", "stood", "right", "since"} or not isinstance(row["since"], date):
            raise ValueError(f"errata.yaml: row {number} must have page, stood, right, since")
    return sorted(rows, key=lambda row: row["since"], reverse=True)


def references(docs: Path) -> dict[str, tuple[str, str]]:
    """The entries of `references.bib`, checked.

    Args:
        docs: The folder that holds it.

    Returns:
        For each key the name by which it is cited, and the reference as a line of Markdown; none,
        if there is no such file.

    Raises:
        ValueError: If an entry has no author, or an address that no page may link to.
        KeyError: If it lacks a title or a year.
    """
    file = docs / "references.bib"
    if not file.exists():
        return {}
    from pybtex.database import parse_file

    entries = parse_file(str(file)).entries
    return {key: (_name(key, entry), _reference(entry)) for key, entry in entries.items()}


def _name(key: str, entry: Any) -> str:
    """`Vaswani et al. 2017`, as it is cited."""
    people = entry.persons.get("author") or entry.persons.get("editor") or []
    names = [" ".join(person.prelast_names + person.last_names) or str(person) for person in people]
    if not names:
        raise ValueError(f"references.bib: {key} has no author")
    shown = (
        names[0]
        if len(names) == 1
        else " and ".join(names)
        if len(names) == 2
        else f"{names[0]} et al."
    )
    return _text(f"{shown} {entry.fields['year']}")


def _reference(entry: Any) -> str:
    """A reference as one line of Markdown: authors, title, where."""
    fields = {name: _text(value) for name, value in entry.fields.items()}
    names = [_full_name(person) for person in entry.persons.get("author", [])]
    if len(names) > 6 or names[-1] == "others":
        names = [*names[: min(5, len(names) - 1)], "et al."]
    places = ("journal", "booktitle", "publisher", "institution", "howpublished", "note")
    where = next((fields[place] for place in places if place in fields), "")
    link = fields.get("url") or (f"https://doi.org/{fields['doi']}" if "doi" in fields else "")
    if "eprint" in fields:
        where, link = (
            where or f"arXiv:{fields['eprint']}",
            link or f"https://arxiv.org/abs/{fields['eprint']}",
        )
    if link and not re.fullmatch(r"https?://[^\s<>()\"]+", link):
        raise ValueError(f"references.bib: {link!r} is no address that a page may link to")
    title = f"[{fields['title']}]({link})" if link else fields["title"]
    return f"{', '.join(names)}, {fields['year']}. {title}." + (
        f" *{where.rstrip('.')}*." if where else ""
    )


def _full_name(person: Any) -> str:
    pieces = [*person.first_names, *person.middle_names, *person.prelast_names, *person.last_names]
    return _text(" ".join(pieces))


def _text(value: str) -> str:
    """A value of a BibTeX field as text: its braces go, and it is no HTML.

    Raises:
        ValueError: If it has a command of LaTeX's.
    """
    if "\\" in value:
        raise ValueError(f"references.bib: write the letter itself, as ö, in {value!r}")
    return re.sub(r"[{}]", "", value).replace("<", "&lt;")


class Blocks(blocks.Blocks):
    """Renders the fences of this book, of its corrections and its bibliography.

    What cannot be read of the book's data counts as empty, and is among its `errors`.
    """

    of_all_pages: ClassVar[frozenset[str]] = frozenset(
        {"outline", "seeds", "corrections", "errata"}
    )

    def __init__(self, docs: Path, site: Site | None = None, pages: Iterable[str] = ()) -> None:
        super().__init__(docs, site or Site(), pages)
        self._errors: list[WeaveError] = []
        rows, bibliography = docs / "data/corrections.yaml", docs / "references.bib"
        self._rows: dict[str, dict[str, Any]] = self._read(lambda: corrections(docs), rows, {})
        own = docs / "data/errata.yaml"
        self._errata: list[dict[str, Any]] = self._read(lambda: errata(docs), own, [])
        self._cited: dict[str, tuple[str, str]] = self._read(
            lambda: references(docs), bibliography, {}
        )
        self.functions = {
            "correction": self.correction,
            "corrections": self.all_corrections,
            "errata": self.errata,
            "references": self.references,
            "outline": self.outline,
            "seeds": self.seeds,
            "calculator": calculator,
            "explorer": explorer.explorer,
            "trainer": explorer.trainer,
            "wordmap": wordmap.wordmap,
        }

    @classmethod
    def data(cls, docs: Path) -> list[Path]:
        """Corrections, bibliography, names of the pages of the API, and what fills the forms."""
        api = docs / "api"
        folders = [api, *(p for p in sorted(api.rglob("*")) if p.is_dir())] if api.is_dir() else []
        files = ("data/corrections.yaml", "data/errata.yaml", "references.bib")
        return [
            *(docs / name for name in files),
            *folders,
            *TABLES,
            *explorer.FRAMES,
            wordmap.FRAME,
        ]

    @classmethod
    def files(cls, executed: Collection[str], cache: Path) -> Mapping[str, bytes]:
        """The model of the explorer and the words of the map, which their pages have made."""
        found = {}
        with storing(cache):
            if explorer.PAGE in executed:
                found[explorer.MODEL] = explored.content(kept(explored.made))
            if wordmap.PAGE in executed:
                found[wordmap.WORDS] = mapped.content(kept(mapped.made))
        return found

    def _read(self, read: Callable[[], T], file: Path, otherwise: T) -> T:
        """What a function reads from a file, or what to take if it cannot."""
        try:
            return read()
        except Exception as error:  # of two libraries, or a wrong type in the data
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else getattr(error, "lineno", None) or 1
            self._errors.append(WeaveError(file, line, f"cannot be read: {error}"))
            return otherwise

    def errors(self) -> list[WeaveError]:
        """What is wrong with the data."""
        return list(self._errors)

    def _source(self, key: str) -> str:
        if key not in self._cited:
            raise ValueError(f"references.bib has no entry {key!r}")
        return f"[{self._cited[key][0]}][{key}]"

    def correction(self, text: str) -> str:
        """The notes of some rows, an id a line: in the margin, or folded where there is none."""
        notes = []
        for name in text.split():
            if name not in self._rows:
                raise ValueError(f"corrections.yaml has no row {name!r}")
            row = self._rows[name]
            sources = ", ".join(self._source(key) for key in row["sources"])
            notes.append(
                '<details class="correction" markdown="1">\n'
                f"<summary>{TITLE}</summary>\n"
                f'<p class="admonition-title" id="correction-{name}">{TITLE}</p>\n\n'
                f"The lesson says: {row['lesson']} {row['right']}"
                + (f" Source: {sources}." if sources else "")
                + "\n\n</details>\n"
            )
        return "\n".join(notes)

    def all_corrections(self, text: str) -> str:
        """Every correction, in the lesson's order, each linked to its place."""
        lines = []
        for name, row in self._rows.items():
            title = html.escape(_title(self.docs / row["page"]))
            lines.append(
                f'<div class="admonition correction" markdown="1">\n\n'
                f"**{VERDICTS[row['verdict']].capitalize()}**, in "
                f"[{title}]({row['page']}#correction-{name}). The lesson says: "
                f"{row['lesson']} {row['right']}\n\n</div>\n"
            )
        return "\n".join(lines)

    def errata(self, text: str) -> str:
        """What stood in this book and was wrong, the newest first."""
        lines = []
        for row in self._errata:
            link = f"[{_title(self.docs / row['page'])}]({row['page']})"
            when = f"{row['since'].day} {row['since']:%B %Y}"
            lines.append(
                f"- {link}, mended on {when}. *Stood there:* {row['stood']} *Right:* {row['right']}"
            )
        return "\n".join(lines) + "\n"

    def references(self, text: str) -> str:
        """The bibliography, in the order of its names; each entry is a target for citations."""
        ordered = sorted(self._cited.items(), key=lambda item: item[1][0].lower())
        return (
            "\n".join(f"- [{name}](#{key}){{#{key}}} {text}" for key, (name, text) in ordered)
            + "\n"
        )

    def outline(self, text: str) -> str:
        """The four parts as columns: number, title, one sentence, chapters and minutes.

        Each line of the fence is `folder | title | sentence`.
        """
        out = []
        for number, line in enumerate(text.strip().splitlines(), 1):
            folder, title, sentence = (piece.strip() for piece in line.split("|"))
            pages = [self.docs / uri for uri in sorted(self.pages) if _is_in(uri, folder)]
            if not pages:
                raise ValueError(f"outline: no chapter in {folder!r}")
            minutes = sum(reading_minutes(page.read_text("utf-8", "replace")) for page in pages)
            out.append(
                f'<a class="part part-{number}" href="{folder}/"><b>{number}</b>'
                f"<strong>{title}</strong>"
                f"<span>{sentence}</span><small>{len(pages)} chapters, {minutes} min</small></a>"
            )
        return f'<nav class="parts" aria-label="Parts">{"".join(out)}</nav>\n'

    def seeds(self, text: str) -> str:
        """A table of the pages whose cells name seeds, in reading order."""
        lines = ["| page | seeds |", "| --- | --- |"]
        uris = [uri for uri in self.pages if uri.endswith(SUFFIXES)]
        for uri in reading_order(uris, self.site.pages):
            if named := seeds(self._cells(uri)):
                shown = ", ".join(map(str, named))
                lines.append(f"| [{_title(self.docs / uri)}]({uri}) | {shown} |")
        return "\n".join(lines) + "\n"

    def _cells(self, uri: str) -> list[str]:
        """The code of a page's cells; none, if it cannot be read, as its own weaving says."""
        try:
            chapter = read_chapter(self.docs / uri, frozenset(self.functions))
        except WeaveError:
            return []
        return [part.text for part in chapter.cells if part.kind == "cell"]

    def finish(self, text: str) -> str:
        """Give citations their class and reference, and what is corrected a mark."""

        def attributes(found: re.Match[str]) -> str:
            reference = re.sub(r"\[([^\]]*)\]\([^)]*\)|[*_]", r"\1", self._cited[found[2]][1])
            return f'{found[0]}{{ .cite title="{html.escape(html.unescape(reference))}" }}'

        named = f'title="{TITLE}" aria-label="{TITLE}"'
        text = NOTED.sub(rf'\1 <a class="corrected" href="#\2" {named}>†</a>', text)
        keys = "|".join(map(re.escape, self._cited))
        return re.sub(rf"\[([^\]]+)\]\[({keys})\](?!{{)", attributes, text) if keys else text

    def target(self, name: str) -> str | None:
        """Where a citation or a name of the package leads."""
        if name in self._cited:
            return f"references/#{name}"
        modules = name.split(".")[1:]
        for length in range(len(modules), 0, -1):
            module = "/".join(modules[:length])
            if (self.docs / f"api/{module}.md").exists() or (self.docs / "api" / module).is_dir():
                return f"api/{module}/#{name}"
        return None


def _is_in(uri: str, folder: str) -> bool:
    return uri.endswith(SUFFIXES) and uri.rpartition("/")[0] == folder


def _title(page: Path) -> str:
    if not page.is_file():
        raise ValueError(f"corrections.yaml names the page {page.name!r}, which is not there")
    found = re.search(r"^# (.+?)(?: \{.*)?$", page.read_text("utf-8", "replace"), re.M)
    return found[1] if found else page.stem
