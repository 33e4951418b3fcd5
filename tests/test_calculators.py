"""The forms of the book: made from the package's tables, and computing in a browser what the package computes."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmbook.architectures.configs import CONFIGS, Config
from llmbook.architectures.costs import (
    forward_flops,
    kv_cache_bytes,
    training_flops,
    weight_bytes,
)
from llmbook.architectures.counting import count_parameters
from llmbook.book.blocks import Blocks
from llmbook.book.calculators import MEASURES, SHOWN, architecture_form, calculator, footprint_form
from llmbook.emissions import DEVICES, GRIDS, Boundary, footprint
from tests.book import DOCS
from tests.test_browser import FLAGS, found_chromium, serving


@pytest.mark.parametrize("name", ["footprint", "architecture"])
def test_every_field_has_a_label_and_the_result_is_said(name: str) -> None:
    """To each id one label; the form is hidden until its script has found it."""
    form = calculator(f"{name}\n")
    ids = re.findall(r'<(?:input|select)[^>]* id="([^"]+)"', form)
    assert sorted(ids) == sorted(re.findall(r'<label for="([^"]+)"', form))
    assert len(set(ids)) == len(ids) > 10
    assert 'aria-live="polite"' in form
    assert re.match(r"<form[^>]* hidden>", form)
    assert "\n\n" not in form


def test_the_lists_are_the_packages_tables() -> None:
    form = footprint_form()
    assert all(f'value="{device.watts:g}"' in form for device in DEVICES.values())
    assert all(f'value="{grid.g_per_kwh:g}"' in form for grid in GRIDS.values())
    assert all(f">{name}</option>" in architecture_form() for name in SHOWN)


def test_a_page_is_woven_again_when_a_table_has_changed() -> None:
    """A form stands in no cell, so its page must depend on what fills it."""
    assert {file.name for file in Blocks.data(DOCS)} > {"emissions.py", "configs.py"}


def test_data_sheets_of_the_form_are_decoders_whose_heads_fill_the_width() -> None:
    """Others would need measures that the form does not take."""
    for name in SHOWN:
        config = CONFIGS[name]
        assert config.kind in {"gpt-2", "llama"}
        assert config.num_heads * config.head_width == config.d_model
        assert (config.num_experts, config.kv_latent, config.window) == (1, None, None)


@pytest.mark.plain
def test_an_unknown_form_is_named() -> None:
    with pytest.raises(
        ValueError, match="calculator must be one of footprint, architecture, got 'loan'"
    ):
        calculator("loan")


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Both forms on a bare page, with the book's own script and style, in a browser."""
    found = found_chromium()
    from playwright.sync_api import sync_playwright

    folder: Path = tmp_path_factory.mktemp("forms")
    for file in ("calculators.js", "book.css"):
        (folder / file).write_bytes((DOCS / "assets" / file).read_bytes())
    policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; form-action 'none'"
    (folder / "index.html").write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Forms</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<link rel="stylesheet" href="book.css"></head><body data-md-color-scheme="default">'
        f'<main class="md-typeset">{footprint_form()}{architecture_form()}</main>'
        f'<script src="calculators.js"></script></body></html>',
        encoding="utf-8",
    )
    with serving(folder) as address, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=FLAGS)
        tab = chromium.new_page(viewport={"width": 390, "height": 900})
        tab.goto(address + "index.html")
        yield tab
        chromium.close()


def typed(tab: Any, form: str, values: dict[str, Any]) -> dict[str, float]:
    """What a form computes from what is typed, at full precision; nothing if it says an error."""
    for name, value in values.items():
        field = tab.locator(f"#{form}-{name}")
        if isinstance(value, bool):
            field.set_checked(value)
        elif name in {"kind", "model", "grid", "device"}:
            field.select_option(value)
        else:
            field.fill(repr(value) if isinstance(value, float) else str(value))
    tab.wait_for_timeout(350)
    found = tab.locator(f"#{form}-calculator output").evaluate("e => ({...e.dataset})")
    return {name: float(value) for name, value in found.items()}


RUNS = [
    (720, 64, 300, 1.0, 1.0, 1.0, 1.0, 0.0, 475),
    (355.2, 10_000, 330, 1.0, 1.0, 1.0, 1.1, 0.0, 429),
    (1082.99, 1000, 400, 1.0, 1.0, 1.591, 1.0, 10.34, 57),
    (0.1, 3, 700, 0.37, 1.43, 1.12, 1.075, 3.5, 713),
    (0, 0, 0, 1.0, 1.0, 1.0, 1.0, 0.0, 0),
]


@pytest.mark.browser
@pytest.mark.parametrize("run", RUNS)
def test_the_form_of_a_footprint_computes_what_the_package_does(
    forms: Any, run: tuple[float, ...]
) -> None:
    """The lesson's run, GPT-3's, BLOOM's with all, one with every factor, and nothing at all."""
    hours, count, watts, use, host, idle, pue, making, grams = run
    names = (
        "hours accelerators watts_per_accel utilisation host idle pue embodied_g_per_hour g_per_kwh"
    )
    within = Boundary(utilisation=use, host=host, idle=idle, pue=pue, embodied_g_per_hour=making)
    ours = footprint(hours * count, watts, grams, within)
    theirs = typed(forms, "footprint", dict(zip(names.split(), run, strict=True)))
    assert theirs == pytest.approx({"kwh": ours.kwh, "kg": ours.kg}, rel=1e-12)


SHEETS: list[tuple[Config, int, int, str, float]] = [
    (CONFIGS["gpt2"], 1024, 1, "float16", 1e10),
    (CONFIGS["gpt3-175b"], 2048, 16, "float32", 3e11),
    (CONFIGS["llama-2-70b"], 4096, 3, "int4", 2e12),
    (CONFIGS["smollm2-135m"], 7, 1, "int8", 1),
    (
        Config(kind="llama", d_model=12, num_layers=1, num_heads=6, num_kv_heads=2, d_ff=5, vocab_size=3, max_len=2, tied=False),
        1,
        1,
        "int4",
        5,
    ),
    (replace(CONFIGS["gpt2-xl"], num_kv_heads=5, tied=False), 100, 2, "bfloat16", 1e9),
]  # fmt: skip
BITS = {"float32": 32, "float16": 16, "bfloat16": 16, "int8": 8, "int4": 4}


@pytest.mark.browser
@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: f"{sheet[0].kind}-{sheet[0].d_model}")
def test_the_form_of_an_architecture_computes_what_the_package_does(
    forms: Any, sheet: tuple[Config, int, int, str, float]
) -> None:
    """Parameters, bytes and operations of published sheets and of two that nobody would train."""
    config, seq, batch, dtype, tokens = sheet
    values: dict[str, Any] = {name: getattr(config, name) for name, _ in MEASURES}
    values |= {"num_kv_heads": config.kv_heads, "kind": config.kind, "tied": config.tied}
    values |= {"bits": BITS[dtype], "seq": seq, "batch": batch, "tokens": tokens}
    theirs = typed(forms, "architecture", values)
    assert theirs == pytest.approx(
        {
            "parameters": count_parameters(config),
            "weights": weight_bytes(config, dtype),
            "cache": kv_cache_bytes(config, seq, batch, dtype),
            "forward": sum(forward_flops(config, seq).values()),
            "training": training_flops(config, tokens),
        },
        rel=1e-12,
    )


@pytest.mark.browser
def test_a_list_fills_its_fields_by_keyboard(forms: Any) -> None:
    """Chosen with the arrow keys: the next accelerator, and a data sheet with all its measures."""
    typed(forms, "footprint", {"hours": 1, "accelerators": 1, "g_per_kwh": 100})
    forms.locator("#footprint-device").press("Home")
    forms.locator("#footprint-device").press("ArrowDown")
    assert forms.locator("#footprint-watts_per_accel").input_value() == "400"
    found = typed(forms, "architecture", {"model": "llama-3-8b", "seq": 10, "batch": 1, "bits": 16})
    assert found["parameters"] == count_parameters("llama-3-8b")
    assert math.isclose(found["cache"], kv_cache_bytes("llama-3-8b", 10))


WRONG = [
    ("footprint", "pue", "0.5", "pue must be a finite number, at least 1, got “0.5”"),
    ("footprint", "hours", "-1", "hours must be a finite number, at least 0, got “-1”"),
    ("footprint", "hours", "", "hours must be a finite number, at least 0, got “”"),
    ("footprint", "utilisation", "0", "utilisation must be above 0 and at most 1, got “0”"),
    ("footprint", "utilisation", "2", "utilisation must be a finite number, at least 0 and at most 1, got “2”"),
    ("footprint", "accelerators", "1.5", "accelerators must be a whole number, at least 0, got “1.5”"),
    ("architecture", "num_heads", "7", "7 heads do not divide d_model=768"),
    ("architecture", "num_kv_heads", "5", "num_kv_heads=5 does not divide num_heads=12"),
    ("architecture", "d_ff", "Infinity", "d_ff must be a whole number, at least 1, got “Infinity”"),
]  # fmt: skip


@pytest.mark.browser
@pytest.mark.parametrize(("form", "name", "value", "message"), WRONG)
def test_bad_input_is_said_with_its_name_its_value_and_what_was_expected(
    forms: Any, form: str, name: str, value: str, message: str
) -> None:
    """And the result before it is gone; put right, it comes back."""
    start = {"model": "gpt2"} if form == "architecture" else {"device": "300", "pue": 1, "utilisation": 1}  # fmt: skip
    right = typed(forms, form, {**start, **({"hours": 720, "accelerators": 64} if form == "footprint" else {})})  # fmt: skip
    assert right
    before = forms.locator(f"#{form}-{name}").input_value()
    assert typed(forms, form, {name: value}) == {}
    assert forms.locator(f"#{form}-calculator output").inner_text() == message
    if "divide" not in message:
        assert forms.locator(f"#{form}-{name}").get_attribute("aria-invalid") == "true"
    assert typed(forms, form, {name: before}) == right


@pytest.mark.browser
def test_the_forms_fit_on_a_phone(forms: Any) -> None:
    """At 390 and at 320 px nothing scrolls sideways, and every field can be touched."""
    for width in (390, 320):
        forms.set_viewport_size({"width": width, "height": 900})
        over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert forms.evaluate(over) == 0
        heights = forms.evaluate(
            "[...document.querySelectorAll('.calculator :is(input:not([type=checkbox]), select)')].map(e => e.getBoundingClientRect().height)"
        )
        assert min(heights) >= 24
