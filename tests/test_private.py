"""What the book takes from MkDocs and Material is public: nothing that may change without notice."""

import ast
import re

from tests.book import DOCS, ROOT

OTHERS = {"mkdocs", "material", "mkdocstrings", "mkdocs_jupyter", "mkdocs_autorefs"}


def private_names(code: str) -> set[str]:
    """Underscored names that code imports from the site's generators, or reads from their objects."""
    tree, found, theirs = ast.parse(code), set(), set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and (module := node.module or "").split(".")[0] in OTHERS
        ):
            theirs |= {alias.asname or alias.name for alias in node.names}
            found |= {*module.split("."), *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in OTHERS:
                    found |= set(alias.name.split("."))
    handed = {"config", "files", "file", "page", "self.config", *theirs}  # what hooks are given
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] in handed:
            found.add(node.attr)
    return {name for name in found if name.startswith("_")}


def test_a_private_name_is_found() -> None:
    """However it is reached."""
    assert private_names("from mkdocs._x import y") == {"_x"}
    assert private_names("import mkdocs.utils._z") == {"_z"}
    assert private_names("def on_files(files, config):\n    config._a(files._b)") == {"_a", "_b"}
    assert private_names("from mkdocs.plugins import BasePlugin\nBasePlugin._c") == {"_c"}
    assert private_names("class A:\n    def f(self):\n        self._mine = page.title") == set()


def test_no_module_uses_a_private_name_of_mkdocs() -> None:
    """Of MkDocs, Material, mkdocstrings or mkdocs-jupyter."""
    modules = sorted((ROOT / "src/llmbook").rglob("*.py"))
    assert any("mkdocs" in path.read_text(encoding="utf-8") for path in modules)
    used = {path.name: private_names(path.read_text(encoding="utf-8")) for path in modules}
    assert {name: names for name, names in used.items() if names} == {}


def test_templates_use_no_private_name() -> None:
    """No object that they are given is asked for an underscored name."""
    for template in (DOCS / "overrides").rglob("*.html"):
        code = " ".join(re.findall(r"\{[{%].*?[%}]\}", template.read_text("utf-8"), re.S))
        assert not re.search(r"\.\s*_\w", code), template
