"""The book mirrors the lesson: its headings in its order, its diagrams byte for byte."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.book import DOCS, ROOT, chapters, headings, nav, prose

HEADINGS = [
    "Comprehensive Basic Knowledge and Architectural Characteristics of LLMs",
    "Learning Objectives",
    "The Evolution of Large Language Models: A Technological Odyssey",
    "2013: Word Embeddings - The Foundation of Modern NLP",
    "2018: BERT - Bidirectional Language Understanding",
    "2018-2023: The GPT Revolution",
    "2021: Beyond Text - Multimodal Learning",
    "What Fueled This Rapid Growth?",
    "The Transformer Architecture: Breaking Down the Game-Changer",
    "The Problem: Limitations of Previous Architectures",
    "The Solution: Attention Mechanisms and Parallel Processing",
    "Self-Attention: The Heart of the Transformer",
    "Multi-Head Attention: Capturing Different Aspects of Relationships",
    "Positional Encoding: Preserving Sequence Order",
    "Feed-Forward Networks and Layer Normalization",
    "Putting It All Together: The Transformer Block",
    "The Impact of Transformers",
    "The Rise of Pre-trained Language Models",
    "BERT: Bidirectional Encoders for Deep Language Understanding",
    "GPT: Generative Pre-trained Transformers",
    "T5: Text-to-Text Transfer Transformer",
    "Architectural Characteristics of Modern LLMs",
    "Scaling Laws and Emergent Abilities",
    "The Double-Edged Sword: Challenges and Ethical Considerations",
    "Computational Resources and Environmental Impact",
    "Bias and Fairness",
    "Privacy and Data Rights",
    "Interpretability and Explainability",
    "Future Directions: The Road Ahead for LLMs",
    "Efficient Architectures",
    "Multimodal Models",
    "Few-Shot and Zero-Shot Learning",
    "Ethical AI and Responsible Development",
    "Conclusion: The Ongoing LLM Revolution",
]
PART_TITLES = {
    "transformer": "The Transformer Architecture - A Revolution in NLP",
    "models": "From Transformers to Modern LLMs",
    "challenges": "Challenges, Ethics, and Future Directions of LLMs",
}
DIAGRAMS = re.findall(
    r"(?ms)^```mermaid\n.*?^```\n", (ROOT / "tests/data/lesson-diagrams.md").read_text("utf-8")
)


def test_every_heading_of_the_lesson_is_there_in_its_order() -> None:
    """Walking the navigation, one meets the lesson's headings one after the other."""
    met = [h for page in nav() if page.endswith(".md") for h in headings(DOCS / page)]
    assert [heading for heading in met if heading in HEADINGS] == HEADINGS


def test_each_part_says_the_lessons_title_for_it() -> None:
    """The lesson names its parts in lines of text."""
    for folder, title in PART_TITLES.items():
        assert title in prose(DOCS / folder / "index.md").replace("\n", " ")


def test_the_lessons_diagrams_are_kept_byte_for_byte() -> None:
    """Three mermaid blocks, fence included, and no other."""
    assert len(DIAGRAMS) == 3
    kept = [
        block
        for page in nav()
        if page.endswith(".md")
        for block in re.findall(r"(?ms)^```mermaid\n.*?^```\n", (DOCS / page).read_bytes().decode())
    ]
    assert kept == DIAGRAMS


def test_every_diagram_has_its_drawing() -> None:
    """Made from exactly this source, in the book's colours."""
    from llmbook.weave import diagrams

    for block in DIAGRAMS:
        source = block.removeprefix("```mermaid\n").removesuffix("```\n")
        svg = (diagrams.DRAWN / diagrams.name(source)).read_text(encoding="utf-8")
        assert "var(--ink)" in svg
        assert "font-family" not in svg


@cache
def fences() -> frozenset[str]:
    """The names of the book's own fences."""
    from llmbook.book.blocks import Blocks

    return frozenset(Blocks(DOCS).functions)


@pytest.mark.parametrize("path", chapters(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_chapter_has_the_books_form(path: Path) -> None:
    """A part, a question, one h1, something to try, and short lines in cells."""
    from llmbook.weave.chapter import read_chapter

    chapter = read_chapter(path, fences())
    assert chapter.meta["part"] == 1 + ("evolution", "transformer", "models", "challenges").index(
        path.parent.name
    )
    assert chapter.meta["question"].endswith("?")
    text = prose(path)
    assert len(re.findall(r"(?m)^# ", text)) == 1
    for part in chapter.parts:
        if part.kind == "cell" and part.options.get("hide") not in {"all", "input"}:
            lines = part.text.splitlines()
            assert len(lines) <= 18, f"{path}:{part.line}: a cell of {len(lines)} lines"
            long = [line for line in lines if len(line) > 74]
            assert not long, f"{path}:{part.line}: does not fit the column: {long}"
