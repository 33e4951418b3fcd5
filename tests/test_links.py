"""Links: every internal one leads somewhere, and every external one is on the list that is visited weekly."""

import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote, urljoin

import pytest

from tests.book import ROOT, pages_of
from tests.links import NEW, OWN, Visit, main, outward, pages, read, write

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser

SITE, EDITED, *_ = OWN
POINTERS = ("for", "aria-labelledby", "aria-describedby", "aria-controls")


@pytest.fixture(scope="module")
def parsed(site: Path) -> "dict[str, LexborHTMLParser]":
    """Each page and notebook of the site."""
    return pages(site)


def wrong_links(site: Path, parsed: "dict[str, LexborHTMLParser]") -> list[str]:
    """Links and references of pages and notebooks that lead nowhere, and ids that come twice."""
    ids = {
        name: Counter(e.attrs.sget("id") for e in page.css("[id]")) for name, page in parsed.items()
    }
    wrong = []
    for name, page in parsed.items():
        notebook = name.endswith(".ipynb")  # lies anywhere: its links are whole addresses
        here = "https://nowhere/" if notebook else SITE + re.sub(r"(^|/)index\.html$", r"\1", name)
        wrong += [f"{name}: id {i!r} comes twice" for i, n in ids[name].items() if n > 1]
        for element in page.css("[href], [src]"):
            link = element.attrs.sget("href", element.attrs.sget("src"))
            path, _, fragment = urljoin(here, link).partition("#")
            if path.startswith(EDITED):
                alive = (ROOT / "docs" / path.removeprefix(EDITED)).is_file()
            elif path.startswith(SITE):
                target = unquote(path.removeprefix(SITE).partition("?")[0])
                target += "index.html" * (not target or target.endswith("/"))
                alive = (site / target).is_file() and (
                    not fragment or unquote(fragment) in ids.get(target, ())
                )
            else:
                alive = not path.startswith("https://nowhere/")
            if not alive:
                wrong.append(f"{name}: <{element.tag}> leads nowhere: {link}")
        if not notebook:
            pointed = [
                i
                for e in page.css("[id], label, [role]")
                for p in POINTERS
                for i in e.attrs.sget(p).split()
            ]
            pointed += re.findall(r"url\(#([^)]+)\)", page.html or "")
            wrong += [f"{name}: there is no id {i!r}" for i in pointed if i not in ids[name]]
    return wrong


def test_nothing_leads_nowhere(site: Path, parsed: "dict[str, LexborHTMLParser]") -> None:
    """Pages, also the one for what is missing, and notebooks, wherever they are downloaded to."""
    assert sum(name.endswith(".ipynb") for name in parsed) > 40
    assert "404.html" in parsed
    wrong = wrong_links(site, parsed)
    assert not wrong, "\n".join(wrong[:40])


def test_a_copy_of_the_site_elsewhere_stays_there(parsed: "dict[str, LexborHTMLParser]") -> None:
    """No page leads to the published site: links within the book are relative."""
    away = [
        (name, a.attrs.sget("href"))
        for name, page in parsed.items()
        if name.endswith(".html")
        for a in page.css(f'a[href^="{SITE}"]')
    ]
    assert away == []


def test_what_a_notebook_cites_is_a_link(parsed: "dict[str, LexborHTMLParser]") -> None:
    """No `[name][key]`, which only the site resolves, is left in its prose."""
    left = []
    for name, page in parsed.items():
        if name.endswith(".ipynb"):
            page.strip_tags(["code"], recursive=True)
            left += [f"{name}: {found}" for found in re.findall(r"\[[^]]+\]\[.*?\]", page.text())]
    assert not left, left[:10]


def test_the_map_of_the_site_names_its_pages(site: Path) -> None:
    """Nothing that is not there, and every page but the one for what is missing."""
    named = set(re.findall(r"<loc>(.*?)</loc>", (site / "sitemap.xml").read_text("utf-8")))
    there = {path.relative_to(site).as_posix() for path in pages_of(site, "index.html")}
    assert named == {SITE + path.removesuffix("index.html") for path in there}


BROKEN = """<a id="twice"></a><b id="twice"></b><a href="other/">o</a><a href="#none">n</a>
<a href="index.html#twice">fine</a><a href="https://example.org/">fine</a><img src="none.png">
<label for="nothing">n</label><a href="%(edit)snone.md">e</a><path style="fill: url(#gone)"/>"""
NOTEBOOK = """{"cells": [{"cell_type": "markdown", "source": [
"[a](index.html) [fine](%(site)s#twice) [b](%(site)s#none)"]}]}"""


def test_what_leads_nowhere_is_found(tmp_path: Path) -> None:
    """Each kind of fault, and nothing that is no fault."""
    names = {"site": SITE, "edit": EDITED}
    (tmp_path / "index.html").write_text(BROKEN % names, encoding="utf-8")
    (tmp_path / "a.ipynb").write_text(NOTEBOOK % names, encoding="utf-8")
    wrong = wrong_links(tmp_path, pages(tmp_path))
    for fault in ("'twice' comes twice", ": other/", "index.html: <a> leads nowhere: #none", ": none.png",
                  "no id 'nothing'", "none.md", "no id 'gone'", "a.ipynb: <a> leads nowhere: index.html",
                  f"{SITE}#none"):  # fmt: skip
        assert sum(fault in said for said in wrong) == 1, (fault, wrong)
    assert len(wrong) == 9


def test_the_list_has_every_link_to_elsewhere(parsed: "dict[str, LexborHTMLParser]") -> None:
    """A new link is visited from the next week on; one that is gone, no longer."""
    there, known = outward(parsed.values()), set(read())
    remedy = "run `make links`, and commit tests/data/links.tsv"
    assert not there - known, f"not on the list: {sorted(there - known)}: {remedy}"
    assert not known - there, f"on the list, and on no page: {sorted(known - there)}: {remedy}"


class Odd(BaseHTTPRequestHandler):
    """A server with every kind of answer; `/busy` has none but `busy` for the first two times."""

    asked: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        """Answer by the path."""
        self.asked[self.path] += 1
        if self.path == "/slow":
            self.server.over.wait(30)  # type: ignore[attr-defined]
            return
        code = {"/moved": 301, "/elsewhere": 302, "/gone": 404, "/private": 403}.get(self.path, 200)
        self.send_response(503 if self.path == "/busy" and self.asked["/busy"] < 3 else code)
        if code in {301, 302}:
            self.send_header("Location", "/here")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def odd() -> Iterator[str]:
    """Where the odd server is."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    server.over = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.over.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def test_a_visit_tells_the_living_from_the_dead(
    odd: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fine, moved, gone, refused, busy at first, without an answer, and without a server."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    paths = ("/here", "/moved", "/elsewhere", "/gone", "/private", "/busy", "/slow")
    file = tmp_path / "links.tsv"
    write({link: Visit(*NEW) for link in [nobody, *(odd + path for path in paths)]}, file)
    quickly = ["--tries", "3", "--timeout", "0.5", "--pause", "0.01"]
    assert main(["visit", "--list", str(file), *quickly]) == 1
    visits = read(file)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", visit.day) for visit in visits.values())
    assert [visits[odd + path].answer for path in paths] == [
        "200", f"200, moved to {odd}/here", "200", "404", "403", "200", "no answer: ConnectionError"
    ]  # fmt: skip
    dead = {link for link, visit in visits.items() if visit.dead}
    assert dead == {odd + "/gone", odd + "/slow", nobody}
    said = capsys.readouterr().out
    assert all(f"dead: {link}" in said for link in dead)
    assert f"dead: {odd}/private" not in said
    assert f"{odd}/private: 403" in said
    write({link: visit for link, visit in visits.items() if link not in dead}, file)
    assert main(["visit", "--list", str(file), *quickly]) == 0


def test_recording_keeps_what_is_known(tmp_path: Path) -> None:
    """A new link is named as not yet visited; the answers of the others stay; lost ones go."""
    site, file = tmp_path / "site", tmp_path / "links.tsv"
    site.mkdir()
    links = "".join(f'<a href="https://{name}.org/#x">x</a>' for name in ("old", "new"))
    (site / "index.html").write_text(f'{links}<a href="{SITE}a/">y</a>', encoding="utf-8")
    visited = Visit("2026-01-01", "200")
    write({"https://old.org/": visited, "https://lost.org/": visited}, file)
    assert main(["record", str(site), "--list", str(file)]) == 0
    assert read(file) == {"https://old.org/": visited, "https://new.org/": NEW}
