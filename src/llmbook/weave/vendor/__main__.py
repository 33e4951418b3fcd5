"""`python -m llmbook.weave.vendor`: refresh the vendored files and draw the mermaid diagrams.

Needs npm, a Chromium and the packages fonttools, brotli and playwright. It alone needs the
network; what it writes is committed, with checksums in `docs/assets/vendored.txt`. With the word
`live` it makes only what live cells load, and needs npm and pip alone.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from llmbook.plots.palette import LIGHT
from llmbook.weave import diagrams
from llmbook.weave.vendor import live

HERE = Path(__file__).parent
PACKAGES = {
    "@fontsource-variable/source-serif-4": "5.3.1",
    "@fontsource-variable/source-sans-3": "5.3.0",
    "@fontsource-variable/source-code-pro": "5.3.0",
    "katex": "0.19.1",
    "mermaid": "11.17.2",
}
KATEX_FONTS = ("Main-Regular", "Main-Bold", "Math-Italic", "AMS-Regular", "Size1-Regular", "Size2-Regular",
               "Size3-Regular", "Size4-Regular", "Caligraphic-Regular")  # fmt: skip
CHARACTERS = "".join(map(chr, range(0x20, 0x7F))) + (
    "\u00a0§©«»·°±²³×÷ÀÁÂÄÅÆÇÈÉÊËÍÎÏÑÓÔÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüÿ–—‘’“”…€←↑→↓−≤≥≈≠√∑∞⅓⅔½¼µ"
)
MERMAID = {
    "startOnLoad": False, "theme": "base", "securityLevel": "strict", "fontFamily": "Source Sans 3", "htmlLabels": False,
    "themeVariables": {
        "fontFamily": "Source Sans 3", "fontSize": "12.5px", "background": LIGHT["page"], "textColor": LIGHT["ink"],
        "titleColor": LIGHT["ink"], "primaryColor": LIGHT["code"], "primaryTextColor": LIGHT["ink"],
        "primaryBorderColor": LIGHT["control"], "lineColor": LIGHT["ink-2"], "nodeTextColor": LIGHT["ink"],
        "mainBkg": LIGHT["code"], "nodeBorder": LIGHT["control"],
        "sectionBkgColor": LIGHT["code"], "altSectionBkgColor": LIGHT["page"], "sectionBkgColor2": LIGHT["code"],
        "taskBkgColor": LIGHT["hairline"], "taskBorderColor": LIGHT["control"], "taskTextColor": LIGHT["ink"],
        "taskTextDarkColor": LIGHT["ink"], "taskTextOutsideColor": LIGHT["ink"], "taskTextLightColor": LIGHT["ink"],
        "activeTaskBkgColor": LIGHT["rubric"], "activeTaskBorderColor": LIGHT["rubric"], "gridColor": LIGHT["grid"],
        "doneTaskBkgColor": LIGHT["hairline"], "critBkgColor": LIGHT["rubric"], "todayLineColor": LIGHT["page"],
        "edgeLabelBackground": LIGHT["page"],
        "secondaryColor": LIGHT["code"],
        "secondaryBorderColor": LIGHT["control"],
        "tertiaryColor": LIGHT["code"],
        "tertiaryBorderColor": LIGHT["control"],
    },
    "gantt": {"useWidth": 680, "useMaxWidth": False, "fontSize": 12, "sectionFontSize": 12, "barHeight": 22, "barGap": 6,
              "leftPadding": 130, "topPadding": 44, "todayMarker": "off"},
    "flowchart": {"useMaxWidth": False, "nodeSpacing": 8, "rankSpacing": 40, "padding": 4, "diagramPadding": 0},
}  # fmt: skip
STYLE = (
    """
.grid .tick { stroke-width: 1px; opacity: 1 } .grid path { display: none } .grid .tick text, .titleText, .sectionTitle
{ font-family: inherit } .grid .tick text { stroke: none; font-size: 12px } .today { display: none } .titleText { font-size: 13px; font-weight: 600 } .section { opacity: 1 }
.milestone { fill: %(rubric)s !important; stroke: %(rubric)s !important } .activeText0, .activeText1, .activeText2,
.activeTextOutside0 { fill: %(rubric)s !important; font-weight: 600 } .milestoneText { font-style: normal }
.taskText.activeText0, .taskText.activeText1, .taskText.activeText2 { fill: %(page)s !important }
"""
    % LIGHT
)


# Render, then drop the style rules that nothing in the drawing matches.
DRAW = """async ([id, text]) => {
  const box = document.createElement('div');
  box.innerHTML = (await mermaid.render(id, text)).svg;
  document.body.append(box);
  const style = box.querySelector('style');
  const used = [...style.sheet.cssRules].filter(r => r.selectorText && box.querySelector(r.selectorText));
  style.textContent = used.map(r => r.cssText).join(' ');
  const svg = box.innerHTML;
  box.remove();
  return svg;
}"""


def fonts(node: Path, web: Path, build: Path) -> None:
    """Subset the book's fonts for the web, and two static instances for matplotlib to measure."""
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont
    from fontTools.varLib import instancer

    def make(family: str, italic: str, low: int, high: int, target: Path) -> None:
        source = node / f"@fontsource-variable/{family}/files/{family}-latin-wght-{italic}.woff2"
        options = Options()
        options.layout_features = ["kern", "liga", "calt", "locl", "mark", "tnum", "lnum"]
        options.hinting = options.glyph_names = False
        options.name_IDs = [1, 2]
        options.drop_tables += ["STAT", "meta", "DSIG", "BASE"]
        font = TTFont(source, recalcTimestamp=False)
        subsetter = Subsetter(options)
        subsetter.populate(text=CHARACTERS)
        subsetter.subset(
            font
        )  # before narrowing: the other order fails on glyphs without variations
        font = instancer.instantiateVariableFont(
            font, {"wght": low if low == high else (low, high)}
        )
        font.flavor = "woff2" if target.suffix == ".woff2" else None
        if font.flavor is None:
            for record in font["name"].names:
                record.string = {1: "Source Sans 3", 2: target.stem.split("-")[-1]}[record.nameID]
        font.save(target)

    make("source-serif-4", "normal", 400, 700, web / "source-serif-4.woff2")
    make("source-serif-4", "italic", 400, 400, web / "source-serif-4-italic.woff2")
    make("source-sans-3", "normal", 400, 700, web / "source-sans-3.woff2")
    make("source-code-pro", "normal", 400, 600, web / "source-code-pro.woff2")
    make("source-sans-3", "normal", 400, 400, build / "SourceSans3-Regular.ttf")
    make("source-sans-3", "normal", 600, 600, build / "SourceSans3-Semibold.ttf")


def katex(node: Path, web: Path) -> None:
    """KaTeX's engine for the build; its style sheet and the fonts that the book uses for the page."""
    shutil.copyfile(node / "katex/dist/katex.min.js", HERE / "katex.min.js")
    style = (node / "katex/dist/katex.min.css").read_text(encoding="utf-8")
    wanted = "|".join(KATEX_FONTS)
    style = re.sub(r",url\([^)]*\.(?:woff|ttf)\) format\(\"[a-z]+\"\)", "", style)
    style = re.sub(
        r"@font-face\{[^}]*\}",
        lambda m: m[0] if re.search(rf"KaTeX_({wanted})\.woff2", m[0]) else "",
        style,
    )
    (web / "katex.css").write_text(
        style.replace("font-display:block", "font-display:swap"), encoding="utf-8"
    )
    (web / "fonts").mkdir(exist_ok=True)
    for font in KATEX_FONTS:
        shutil.copyfile(
            node / f"katex/dist/fonts/KaTeX_{font}.woff2", web / f"fonts/KaTeX_{font}.woff2"
        )


def draw(node: Path, docs: Path) -> None:
    """Draw every mermaid fence of the chapters with a headless Chromium."""
    from playwright.sync_api import sync_playwright

    diagrams.DRAWN.mkdir(exist_ok=True)
    browser = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    font = (docs / "assets/fonts/source-sans-3.woff2").resolve().as_uri()
    page_html = (
        f"<style>@font-face{{font-family:'Source Sans 3';src:url({font});font-weight:400 700}}"
        f"body{{font:12.5px 'Source Sans 3'}}</style><b>x</b><p>x</p>"
    )
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "page.html"
        start.write_text(page_html, encoding="utf-8")
        flags = ["--no-sandbox", "--allow-file-access-from-files"]
        page = playwright.chromium.launch(executable_path=browser, args=flags).new_page()
        page.goto(start.as_uri())
        page.add_script_tag(path=str(node / "mermaid/dist/mermaid.min.js"))
        page.evaluate("document.fonts.ready")
        page.evaluate("config => mermaid.initialize(config)", {**MERMAID, "themeCSS": STYLE})
        for chapter in sorted(docs.rglob("*.md")):
            for found in re.findall(
                r"(?ms)^```mermaid\n(.*?)^```", chapter.read_text(encoding="utf-8")
            ):
                target = diagrams.DRAWN / diagrams.name(found)
                identity = "m" + target.stem
                svg = page.evaluate(DRAW, [identity, found])
                target.write_text(themed(svg), encoding="utf-8")


def themed(svg: str) -> str:
    """The drawing with CSS variables for its colours and the page's font."""
    names = {value.lower(): name for name, value in LIGHT.items()}
    svg = re.sub(
        r"rgb\((\d+), (\d+), (\d+)\)",
        lambda m: "#" + "".join(f"{int(c):02x}" for c in m.groups()),
        svg,
    )
    svg = re.sub(
        r"(?i)#[0-9a-f]{6}\b",
        lambda m: f"var(--{names[m[0].lower()]})" if m[0].lower() in names else m[0],
        svg,
    )
    svg = re.sub(r"#000000\b|#000\b", "var(--ink)", svg)
    svg = re.sub(r"font-family:[^;}\"]+[;]?| font-family=\"[^\"]*\"", "", svg)
    return re.sub(r"\s*\n\s*", " ", svg)


def main() -> None:
    """Fetch the packages, make all files, write their checksums."""
    docs = Path("docs")
    if not docs.is_dir():
        sys.exit("run this at the root of the repository")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        packages = {**PACKAGES, **live.PACKAGES}
        (root / "package.json").write_text(json.dumps({"dependencies": packages, "private": True}))
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=root, check=True
        )
        node = root / "node_modules"
        if sys.argv[1:] != ["live"]:
            fonts(node, docs / "assets/fonts", HERE.parents[1] / "fonts")
            katex(node, docs / "assets/katex")
            draw(node, docs)
        live.make(node, root, docs / "assets/live")
    made = [
        *sorted((docs / "assets/fonts").iterdir()),
        *sorted((docs / "assets/katex").rglob("*.*")),
        *sorted((docs / "assets/live").iterdir()),
        HERE / "katex.min.js",
    ]
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {os.path.relpath(file)}"
        for file in made
        if file.is_file()
    ]
    versions = "".join(f"# {name} {version}\n" for name, version in packages.items())
    (docs / "assets/vendored.txt").write_text(versions + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
