"""The book as plain Markdown: every chapter is there, listed, and says what its page says."""

import json
import re
from pathlib import Path

from llmbook.weave.machines import Listed, as_text, listing
from tests.links import SITE

ENTRY = re.compile(r"^- \[(.+)\]\((\S+)\)", re.MULTILINE)


def test_every_chapter_has_its_markdown_and_is_listed_once(site: Path) -> None:
    listed = ENTRY.findall((site / "llms.txt").read_text("utf-8"))
    paths = [to.removeprefix(SITE) for _, to in listed]
    assert len(set(paths)) == len(paths) > 40
    for path in paths:
        text = (site / path).read_text("utf-8")
        assert text.startswith("# ") or path == "index.md", path  # whose top is a picture
        page = site / path.replace("index.md", "index.html")
        page = page if page.suffix == ".html" else page.with_suffix("") / "index.html"
        assert page.is_file(), path
        assert "<svg" not in text, path
    assert "challenges/fairness.md" in paths


def test_what_a_page_prints_stands_in_its_markdown(site: Path) -> None:
    text = (site / "challenges" / "fairness.md").read_text("utf-8")
    assert "```text\nAfrican-American: 3,696 people" in text
    assert "*Figure: Two lines over the COMPAS score" in text
    assert "44.85%" in text


def test_a_fence_is_longer_than_any_inside() -> None:
    cell = {"cell_type": "code", "metadata": {}, "source": "x = '''\n```\n'''", "outputs": []}
    assert as_text(json.dumps({"cells": [cell]})).startswith("````python\n")


def test_parts_stand_in_the_order_of_their_chapters() -> None:
    text = listing("B", "D", [Listed("", "a", "a.md", ""), Listed("P", "b", "b.md", "Why?")])
    assert text.split("\n") == [
        "# B", "", "> D", "", "## B", "", "- [a](a.md)", "", "## P", "", "- [b](b.md): Why?", "",
    ]  # fmt: skip
