"""What is expensive and shared: the built book, and the real model."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from filelock import FileLock

from tests.book import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmbook.bert import Bert
    from llmbook.llama import Llama
    from llmbook.tokenizers import ByteLevelBPE
    from llmbook.wordpiece import WordPiece

T = TypeVar("T")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real model, or the whole book, whose chapters do."""
    for item in items:
        if {"smollm2", "minilm", "site"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.model)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole book as it is published, for all workers; what has been executed before is not executed again."""
    from llmbook.weave import epub

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, made = shared / "site", shared / "site/llmbook.epub"
    with FileLock(shared / "site.lock"):  # the first worker builds, the others wait for it
        if not made.exists():
            build_book(folder)
            assert epub.main([str(folder), str(made), "--config", str(ROOT / "mkdocs.yml")]) == 0
    return folder


def build_book(folder: Path, **settings: object) -> Path:
    """Build the book into a folder, strictly; `settings` are those of `llmbook-weave`."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    config.plugins["llmbook-weave"].config.update(settings)
    config.plugins.run_event("startup", command="build", dirty=False)
    try:
        build(config)
    finally:
        config.plugins.run_event("shutdown")
    return folder


def loaded(load: "Callable[[], T]") -> "T":
    """What a function of `llmbook.pretrained` gives; where that is not to be had, skip."""
    try:
        return load()
    except OSError as error:
        if os.environ.get("LLMBOOK_REQUIRE_ASSETS") == "1":
            raise
        pytest.skip(f"{error}: `python -m llmbook.pretrained` gets it")


@pytest.fixture(scope="session")
def smollm2() -> "tuple[Llama, ByteLevelBPE]":
    """The real language model and its tokenizer."""
    from llmbook import pretrained

    return loaded(pretrained.smollm2)


@pytest.fixture(scope="session")
def minilm() -> "tuple[Bert, WordPiece]":
    """The real encoder and its tokenizer."""
    from llmbook.pretrained import load_minilm

    return loaded(load_minilm)
