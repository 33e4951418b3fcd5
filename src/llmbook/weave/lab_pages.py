"""Labs: exercises as notebooks, and how their pages get the look of the chapters."""

import html
import re
from pathlib import Path, PurePosixPath
from typing import Any

from llmbook.weave.chapter import Chapter, Part, WeaveError, read_text


def is_lab(uri: str, pattern: str) -> bool:
    """Whether a file is one of the book's labs.

    Examples:
        >>> is_lab("labs/a.py", "labs/*.py"), is_lab("hooks/a.py", "labs/*.py"), is_lab("a.py", "")
        (True, False, False)
    """
    return bool(pattern) and uri.endswith(".py") and PurePosixPath(uri).match(pattern)


def read_lab(path: Path) -> Chapter:
    """Parse a lab, a `.py` notebook in percent format; its Markdown cells are prose.

    Args:
        path: The file.

    Returns:
        A chapter whose cells have their tags as options.

    Raises:
        WeaveError: If the file cannot be read, or has something outside of its cells.
    """
    import jupytext

    text = read_text(path)
    starts = [n for n, line in enumerate(text.split("\n"), 1) if line.startswith("# %%")]
    try:
        cells = jupytext.reads(text, fmt="py:percent").cells
    except Exception as error:  # of the libraries that it calls
        reason = str(error).partition("\n")[0]
        raise WeaveError(path, 1, f"jupytext cannot read it: {reason}") from None
    if len(cells) != len(starts):
        raise WeaveError(
            path, 1, "a lab begins with `# %%`, and so does each cell and nothing else"
        )
    parts = []
    for cell, line in zip(cells, starts, strict=True):
        kind = "cell" if cell.cell_type == "code" else "prose"
        tags = cell.metadata.get("tags", [])
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise WeaveError(path, line, f'tags must be written tags=["…"], got {tags!r}')
        parts.append(Part(kind, cell.source + "\n", line, dict.fromkeys(tags, True)))
    return Chapter(path, {}, parts, text)


def page(content: str, site: str = "") -> str:
    """What mkdocs-jupyter made of a lab, in the markup of a chapter.

    JupyterLab's styles and scripts, prompts and second copies of the code go; formulas are set;
    a cell tagged `solution` is folded.

    Args:
        content: The page's HTML.
        site: Where the book is published: there the notebook's links lead, but not the page's.

    Returns:
        The content of the page.
    """
    from bs4 import BeautifulSoup

    out = []
    number = 0
    for cell in BeautifulSoup(content, "html.parser").select(".jp-MarkdownCell, .jp-CodeCell[id]"):
        if rendered := cell.select_one(".jp-RenderedMarkdown"):
            for anchor in rendered.select(".anchor-link"):
                anchor["class"], anchor["title"] = "headerlink", "Link to this section"
                anchor.string = "#"
            out.append(_formulas(rendered.decode_contents()))
            continue
        code = "".join(pre.decode_contents() for pre in cell.select(".jp-InputArea-editor pre"))
        piece = f'<div class="highlight"><pre><code>{code}</code></pre></div>'
        for output in cell.select(".jp-OutputArea-output"):
            fails = "application/vnd.jupyter.stderr" in str(output.get("data-mime-type"))
            text = html.escape(output.get_text().strip("\n"))
            text = text.splitlines()[-1] if fails else text
            kind = "output fails" if fails else "output"
            piece += f'<div class="{kind}"><pre tabindex="0">{text}</pre></div>'
        piece = f'<div class="cell" data-cell="{number}">{piece}</div>'
        number += 1
        if "celltag_solution" in _classes(cell):
            piece = f'<details class="solution"><summary>Solution</summary>{piece}</details>'
        out.append(piece)
    made = "\n".join(out)
    if site:
        return made.replace(f'href="{site}', 'href="../../')
    linked = re.sub(r'href="(\.\./[^"#]+)\.md', r'href="../\1/', made)
    return linked.replace("/index/", "/")


def _classes(cell: Any) -> set[str]:
    return {name for tag in (cell, cell.parent) for name in tag.get("class", [])}


def _formulas(text: str) -> str:
    """Set formulas, in either form in which mkdocs-jupyter leaves them."""
    from llmbook.weave.katex import formula, set_formulas

    text = set_formulas(text)
    text = re.sub(r"\$\$(.+?)\$\$", lambda m: formula(html.unescape(m[1]), True), text, flags=re.S)
    text = re.sub(r"(?<!\\)\$([^$\n<]+?)\$", lambda m: formula(html.unescape(m[1]), False), text)
    block = r'<p>\s*(<div class="formula"(?:(?!</div>).)*</div>)\s*</p>'
    return re.sub(block, r"\1", text, flags=re.S)  # which may be in no paragraph
