"""Forms that compute in the page by the formulas of the package, filled from its tables.

A form is hidden until `assets/calculators.js` has found it. Without script a reader has the table
that the page's own cells make.
"""

import html
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from llmbook.weave.sources import package_root

if TYPE_CHECKING:
    from llmbook.architectures.configs import Config

# what the forms are filled from; it is imported when one of them is made, in most builds never
TABLES = [package_root("llmbook.architectures.configs"), package_root("llmbook.emissions")]
SHOWN = ("gpt2", "gpt2-xl", "gpt3-175b", "llama-2-7b", "llama-3-8b", "llama-2-70b", "smollm2-135m")
MEASURES = (
    ("num_layers", "Layers"),
    ("d_model", "Width, d_model"),
    ("num_heads", "Query heads"),
    ("num_kv_heads", "Key and value heads"),
    ("d_ff", "Feed-forward width, d_ff"),
    ("vocab_size", "Vocabulary"),
    ("max_len", "Context, tokens"),
)


def measures(config: "Config") -> dict[str, int | str | bool]:
    """What the form of an architecture takes of a data sheet."""
    found: dict[str, int | str | bool] = {
        name: getattr(config, name) for name, _ in MEASURES if name != "num_kv_heads"
    }
    return {**found, "num_kv_heads": config.kv_heads, "kind": config.kind, "tied": config.tied}


def footprint_form() -> str:
    """Energy and emissions of training or use: `llmbook.emissions.footprint`."""
    from llmbook.emissions import DEVICES, GRIDS

    devices = [(f"{device.watts:g}", f"{d}, {device.watts:g} W") for d, device in DEVICES.items()]
    grids = [(f"{g.g_per_kwh:g}", f"{n} {g.year}, {g.g_per_kwh:g} g") for n, g in GRIDS.items()]
    fields = [
        _choice("device", "Accelerator", devices, fills="watts_per_accel"),
        _number("watts_per_accel", "Watts of one", "300"),
        _number("accelerators", "How many", "64"),
        _number("hours", "Hours", "720"),
        _number("utilisation", "Utilisation, above 0 to 1", "1"),
        _number("host", "Host, factor from 1", "1"),
        _number("idle", "Standing by, factor from 1", "1"),
        _number("pue", "Building (PUE), from 1", "1"),
        _number("embodied_g_per_hour", "Making, g an hour", "0"),
        _choice("grid", "Grid", grids, fills="g_per_kwh", first="The lesson’s, 475 g"),
        _number("g_per_kwh", "Grams a kilowatt-hour", "475"),
    ]
    return _form("footprint", "Energy and emissions", fields)


def architecture_form() -> str:
    """Parameters, memory and operations of a data sheet: `llmbook.architectures`."""
    from llmbook.architectures.configs import CONFIGS

    models = [(json.dumps(measures(CONFIGS[name])), name) for name in SHOWN]
    start = measures(CONFIGS[SHOWN[0]])
    kinds = [
        ("gpt-2", "as GPT-2: biases, rows for positions"),
        ("llama", "as Llama: gated, rotary"),
    ]
    fields = [
        _choice("model", "Start from", models, fills="*"),
        _choice("kind", "Kind", kinds),
        *(_number(name, label, str(start[name])) for name, label in MEASURES),
        _check("tied", "Output is the embedding", checked=True),
        _number("bits", "Bits of a weight", "16"),
        _number("seq", "Tokens of each text", "1024"),
        _number("batch", "Texts side by side", "1"),
        _number("tokens", "Tokens of training", "1e10"),
    ]
    return _form("architecture", "Parameters, memory and operations", fields)


FORMS = {"footprint": footprint_form, "architecture": architecture_form}


def calculator(text: str) -> str:
    """The form that a fence names.

    Raises:
        ValueError: If there is none of this name.

    Examples:
        >>> calculator("footprint")[:38]
        '<form class="calculator" id="footprint'
    """
    name = text.strip()
    if name not in FORMS:
        raise ValueError(f"calculator must be one of {', '.join(FORMS)}, got {name!r}")
    return FORMS[name]()


def _form(name: str, title: str, fields: Iterable[str]) -> str:
    """All in one block of HTML, without empty lines, which would end it."""
    inner = "\n".join(field.replace("{of}", name) for field in fields)
    return (
        f'<form class="calculator" id="{name}-calculator" aria-label="{title}" hidden>\n{inner}\n'
        f'<output aria-live="polite" aria-label="{title}"></output>\n</form>\n'
        "<noscript>The form needs JavaScript. The table below has some of its results.</noscript>\n"
    )


def _number(name: str, label: str, value: str) -> str:
    field = f'<input id="{{of}}-{name}" name="{name}" inputmode="decimal" autocomplete="off"'
    return f'<p><label for="{{of}}-{name}">{label}</label>{field} value="{value}"></p>'


def _check(name: str, label: str, *, checked: bool) -> str:
    field = f'<input type="checkbox" id="{{of}}-{name}" name="{name}"{" checked" * checked}>'
    return f'<p class="check">{field}<label for="{{of}}-{name}">{label}</label></p>'


def _choice(
    name: str,
    label: str,
    options: Iterable[tuple[str, str]],
    *,
    fills: str = "",
    first: str = "",
) -> str:
    """A list; one that `fills` writes what is chosen into other fields, `*` for several."""
    listed = [f'<option value="475">{first}</option>'] if first else []
    listed += [
        f'<option value="{html.escape(value)}">{html.escape(shown)}</option>'
        for value, shown in options
    ]
    filling = f' data-fills="{fills}"' if fills else ""
    return (
        f'<p><label for="{{of}}-{name}">{label}</label>'
        f'<select id="{{of}}-{name}" name="{name}" autocomplete="off"{filling}>'
        f"{''.join(listed)}</select></p>"
    )
