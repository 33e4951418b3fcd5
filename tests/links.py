"""The site's links to elsewhere: a list of them, which a command records and visits.

    python -m tests.links record SITE   # what a built site links to; what was known keeps its answer
    python -m tests.links visit         # asks every address; exit status 1 if one is dead

The list, `tests/data/links.tsv`, has a line for each address: the address, the day of the last
visit, and what was answered.
"""

import argparse
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urldefrag, urlsplit

from tests.book import ROOT

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser

SETTINGS = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
SITE, *SOURCES = re.findall(r"(?m)^(?:site_url|repo_url|edit_uri): *(\S+)", SETTINGS)
NOTEBOOKS = re.findall(r"(?m)^    (?:Colab|Binder): *(\S+)", SETTINGS)
# where the pages are, and what addresses of their sources and notebooks begin with
OWN = (SITE, "/".join(SOURCES), *NOTEBOOKS)
LIST = ROOT / "tests/data/links.tsv"
NEW = ("-", "recorded, not yet visited")
REFUSED = {401, 403, 405, 406, 418, 429, 451, 999}  # says nothing of whether a reader gets the page
BUSY = (429, 500, 502, 503, 504)  # worth another try


class Visit(NamedTuple):
    """The day of the last visit of an address, and what was answered then."""

    day: str
    answer: str

    @property
    def dead(self) -> bool:
        """Whether a reader who follows the link finds nothing."""
        code = re.match(r"\d+", self.answer)
        fine = code and (200 <= int(code[0]) < 300 or int(code[0]) in REFUSED)
        return not fine and self != NEW


def pages(site: Path) -> dict[str, "LexborHTMLParser"]:
    """Every page by its path, and the Markdown cells of every notebook as a page each."""
    from markdown_it import MarkdownIt
    from selectolax.lexbor import LexborHTMLParser

    found = {
        path.relative_to(site).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(site.rglob("*.html"))
    }
    for path in sorted(site.rglob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        found[path.relative_to(site).as_posix()] = MarkdownIt().render(text)
    return {name: LexborHTMLParser(text) for name, text in found.items()}


def outward(parsed: Iterable["LexborHTMLParser"]) -> set[str]:
    """The addresses elsewhere that pages link to, without the parts of pages behind `#`.

    The book's own site and files are not elsewhere.
    """
    links = {
        urldefrag(a.attrs.sget("href"))[0] for page in parsed for a in page.css("a[href^=http]")
    }
    return {link for link in links if not link.startswith(OWN)}


def read(file: Path = LIST) -> dict[str, Visit]:
    """The list, by address."""
    rows = (line.split("\t") for line in file.read_text(encoding="utf-8").splitlines())
    return {link: Visit(day, answer) for link, day, answer in rows}


def write(visits: dict[str, Visit], file: Path = LIST) -> None:
    """Write the list, in the order of the addresses."""
    lines = ("\t".join((link, *visits[link])) + "\n" for link in sorted(visits))
    file.write_text("".join(lines), encoding="utf-8", newline="\n")


def ask(link: str, *, tries: int = 4, timeout: float = 30, pause: float = 2) -> str:
    """What a server answers: a status, and where the page has moved for good; or why none came."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        tries - 1,
        backoff_factor=pause,
        status_forcelist=BUSY,
        raise_on_status=False,
        respect_retry_after_header=False,  # which may ask for hours
    )
    agent = "Mozilla/5.0 (compatible; llmbook-links; +https://github.com/llmbook/llmbook)"
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retry))
        session.mount("https://", HTTPAdapter(max_retries=retry))
        session.headers["User-Agent"] = agent
        try:
            with session.get(link, timeout=timeout, stream=True) as response:
                steps = [step.status_code for step in response.history]
                moved = bool(steps) and set(steps) <= {301, 308}
                return f"{response.status_code}" + f", moved to {response.url}" * moved
        except requests.RequestException as error:
            return f"no answer: {type(error).__name__}"


def visit_all(
    links: Iterable[str], *, tries: int = 4, timeout: float = 30, pause: float = 2
) -> Iterator[tuple[str, Visit]]:
    """Ask for every address: hosts side by side, the pages of one host in turn, with pauses."""
    hosts = defaultdict(list)
    for link in links:
        hosts[urlsplit(link).netloc].append(link)

    def in_turn(of_host: list[str]) -> list[tuple[str, Visit]]:
        found = []
        for link in of_host:
            answer = ask(link, tries=tries, timeout=timeout, pause=pause)
            found.append((link, Visit(f"{datetime.now(UTC):%Y-%m-%d}", answer)))
            time.sleep(pause)
        return found

    with ThreadPoolExecutor(8) as workers:
        for found in workers.map(in_turn, hosts.values()):
            yield from found


def main(arguments: list[str] | None = None) -> int:
    """Record or visit; exit status 1 if an address is dead."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.links",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("record").add_argument("site", type=Path, help="the built site")
    visiting = commands.add_parser("visit")
    for parsed in commands.choices.values():
        parsed.add_argument("--list", type=Path, default=LIST, help="the list")
    visiting.add_argument("--tries", type=int, default=4)
    visiting.add_argument("--timeout", type=float, default=30, help="seconds for each try")
    visiting.add_argument("--pause", type=float, default=2, help="seconds between two of a host")
    options = parser.parse_args(arguments)
    known = read(options.list) if options.list.exists() or options.command == "visit" else {}
    if options.command == "record":
        links = outward(pages(options.site).values())
        write({link: known.get(link, Visit(*NEW)) for link in links}, options.list)
        print(f"{len(links)} addresses, {len(links - known.keys())} of them new")
        return 0
    ask_with = {name: getattr(options, name) for name in ("tries", "timeout", "pause")}
    visits = dict(visit_all(known, **ask_with))
    write(visits, options.list)
    for link, visit in sorted(visits.items()):
        if visit.dead or not visit.answer.startswith("200"):
            print(f"{'dead: ' * visit.dead}{link}: {visit.answer}")
        elif "moved" in visit.answer:
            print(f"{link}: {visit.answer}")
    return int(any(visit.dead for visit in visits.values()))


if __name__ == "__main__":
    sys.exit(main())
