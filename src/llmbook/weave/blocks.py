"""The book's own fences: corrections, references, outline, seeds. Prose made from data.

A fence such as

    ```correction
    gpt-before-bert
    ```

becomes the visible note of that row of `data/corrections.yaml`. Nothing is executed: these are
texts, kept once and shown in several places.
"""

import html
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin

import yaml

from llmbook.weave.chapter import WeaveError, fences, read_chapter
from llmbook.weave.configuration import Site, read_site
from llmbook.weave.seeds import seeds

T = TypeVar("T")

FIELDS = {"id", "claim", "verdict", "lesson", "right", "sources", "page"}
VERDICTS = {
    "imprecise": "imprecise",
    "wrong": "wrong",
    "unverifiable": "not verifiable",
    "dated": "dated",
}
WORDS_A_MINUTE = 200
SECONDS_A_CELL = 30


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
    """A value of a BibTeX field as text: its braces go, and it is no HTML."""
    return re.sub(r"[{}]", "", value).replace("<", "&lt;")


class Blocks:
    """Renders the fences of one book.

    What cannot be read of the book's data counts as empty, and is among its `errors`.

    Args:
        docs: The folder of the book's pages.
        site: What is known of the published book; when left out, what the `mkdocs.yml` beside the
            folder says.
    """

    def __init__(self, docs: Path, site: Site | None = None) -> None:
        self.docs = docs
        self._errors: list[WeaveError] = []
        mkdocs = docs.parent / "mkdocs.yml"
        self.site = site or self._read(lambda: read_site(mkdocs), mkdocs, Site())
        rows, bibliography = docs / "data/corrections.yaml", docs / "references.bib"
        self._rows: dict[str, dict[str, Any]] = self._read(lambda: corrections(docs), rows, {})
        self._cited: dict[str, tuple[str, str]] = self._read(
            lambda: references(docs), bibliography, {}
        )
        self.functions: dict[str, Callable[[str], str]] = {
            "correction": self.correction,
            "corrections": self.all_corrections,
            "references": self.references,
            "outline": self.outline,
            "seeds": self.seeds,
        }

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
        """The notes of some rows, an id a line, as one admonition each."""
        notes = []
        for name in text.split():
            if name not in self._rows:
                raise ValueError(f"corrections.yaml has no row {name!r}")
            row = self._rows[name]
            sources = ", ".join(self._source(key) for key in row["sources"])
            notes.append(
                f'<div class="admonition correction" id="correction-{name}" markdown="1">\n'
                f'<p class="admonition-title">Correction to the lesson</p>\n\n'
                f"The lesson says: {row['lesson']} {row['right']}"
                + (f" Source: {sources}." if sources else "")
                + "\n\n</div>\n"
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
            pages = sorted((self.docs / folder).glob("*.md"))
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
        uris = [path.relative_to(self.docs).as_posix() for path in self.docs.rglob("*.md")]
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

    def cite(self, text: str) -> str:
        """Give each citation its class and, as a tooltip, the reference it leads to."""

        def attributes(found: re.Match[str]) -> str:
            reference = re.sub(r"\[([^\]]*)\]\([^)]*\)|[*_]", r"\1", self._cited[found[2]][1])
            return f'{found[0]}{{ .cite title="{html.escape(html.unescape(reference))}" }}'

        keys = "|".join(map(re.escape, self._cited))
        return re.sub(rf"\[([^\]]+)\]\[({keys})\](?!{{)", attributes, text) if keys else text

    def links(self, page: Path, text: str) -> str:
        """A page's prose for its notebook, which lies elsewhere: links lead to the site.

        They do so if the site has an address; citations and names of the package are links there
        too.
        """
        site = self.site.address
        if not site:
            return text
        source = f"{site}{page.relative_to(self.docs).as_posix()}"

        def reference(found: re.Match[str]) -> str:
            module = found[1].split(".")[1:2]
            if found[1] in self._cited:
                page = "references"
            elif module and (self.docs / f"api/{module[0]}.md").exists():
                page = f"api/{module[0]}"
            else:
                return found[0]
            return f"]({site}{page}/#{found[1]})"

        text = re.sub(r"\]\[([\w.]+)\]", reference, text)
        linked = r"\]\(((?:[\w./-]+\.(?:md|ipynb))?(?:#[\w.-]+)?)\)"
        text = re.sub(linked, lambda m: f"]({_address(urljoin(source, m[1]))})", text)
        attribute = r'( (?:href|src)=")([^"]+)'
        return re.sub(attribute, lambda m: m[1] + urljoin(_address(source), m[2]), text)


def _address(source: str) -> str:
    """Where a site has the page made of a file: `a/b.md#c` at `a/b/#c`, `a/index.md` at `a/`."""
    name = r"/(?:index|([\w-]+))\.(?:md|py|ipynb)(?=#|$)"
    return re.sub(name, lambda m: f"/{m[1]}/" if m[1] else "/", source)


def reading_order(sources: Iterable[str], pages: Sequence[str]) -> list[str]:
    """Pages as the navigation has them, then the others by name.

    Args:
        sources: Paths below the folder of the book.
        pages: The files of the navigation; a lab is there as the notebook that is made of it.

    Examples:
        >>> reading_order(["b.md", "a.md", "labs/x.py", "c.md"], ["c.md", "labs/x.ipynb"])
        ['c.md', 'labs/x.py', 'a.md', 'b.md']
    """
    place = {uri.removesuffix(".ipynb"): number for number, uri in enumerate(pages)}
    return sorted(sources, key=lambda uri: (place.get(uri.removesuffix(".py"), len(pages)), uri))


def reading_minutes(markdown: str) -> int:
    """Minutes that a chapter takes: 200 words a minute, and half a minute a cell or listing.

    Args:
        markdown: The page, with or without front matter.
    """
    body = re.sub(r"(?s)\A---\n.*?\n---\n", "", markdown)
    lines, found = body.split("\n"), fences(body)
    cells = sum(fence.info.split()[:1] == ["python"] for fence in found)
    for fence in reversed(found):
        del lines[slice(*fence.map)]  # type: ignore[misc]
    words = len(" ".join(lines).split())
    return max(1, round(words / WORDS_A_MINUTE + cells * SECONDS_A_CELL / 60))


def _title(page: Path) -> str:
    if not page.is_file():
        raise ValueError(f"corrections.yaml names the page {page.name!r}, which is not there")
    found = re.search(r"^# (.+?)(?: \{.*)?$", page.read_text("utf-8", "replace"), re.M)
    return found[1] if found else page.stem
