"""Model cards and data sheets of the book's own models, from configurations, records and sources.

Nothing in a card is typed that can be counted: sizes come from the model that the configuration
builds, results from the record over seeds, data from the table of sources.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from statistics import mean, stdev
from typing import Any, Final

from torch import nn

from llmbook import datasets, emoji, spoken
from llmbook.experiments import emergence, ladder, word_order
from llmbook.experiments.results import EXPERIMENTS, recorded
from llmbook.gpt import GPT

FILES: Final = (*datasets.SOURCES, *emoji.SOURCES, spoken.SOURCE)
"""All data files of the package that were made from somebody else's."""


@dataclass(frozen=True)
class Subject:
    """What a card is about, and what only its makers can say.

    Attributes:
        title: The model.
        build: Makes an untrained one, whose sizes are counted.
        record: The record in which its measurements are.
        measures: What is told of each run of the record, by name.
        data: Files of `llmbook.datasets` from which it learned; none if its data are made up.
        made_up: What is drawn instead, if so.
        intended: What it is for.
        unfit: What it must not be used for, and why.
        unmeasured: What nobody has looked at.
    """

    title: str
    build: Callable[[], nn.Module]
    record: str
    measures: Mapping[str, Callable[[Any], float]]
    data: tuple[str, ...]
    made_up: str
    intended: str
    unfit: str
    unmeasured: str


SUBJECTS: Final[Mapping[str, Subject]] = {
    "ladder": Subject(
        title="A GPT that read the State of the Union",
        build=lambda: GPT(ladder.config(ladder.VARIANTS["Muon"])),
        record="ladder",
        measures={"bits per byte of later addresses": lambda run: run["Muon"]["test"]},
        data=("sotu.jsonl.xz",),
        made_up="",
        intended="Showing what a small language model learns from real text, and from how much.",
        unfit="Writing or judging anything: it knows one kind of speech, by presidents alone.",
        unmeasured="What it says about groups of people; whether it recites.",
    ),
    "addition": Subject(
        title="An adder of four-digit numbers",
        build=lambda: emergence.adder(emergence.Setup().d_model, seed=0),
        record="addition",
        measures={
            "sums that are right in all digits": lambda run: run["curve"][-1]["exact"],
            "log-likelihood of the digits, nats": lambda run: run["curve"][-1]["log_likelihood"],
        },
        data=(),
        made_up="pairs of numbers below ten thousand, drawn anew for each step",
        intended="Watching an ability come, measured in two ways.",
        unfit="Adding: a calculator does not err.",
        unmeasured="Sums of other lengths, which it has never seen.",
    ),
    "word-order": Subject(
        title="A CLIP of coloured shapes",
        build=lambda: word_order.build(word_order.Setup()),
        record="word-order",
        measures={
            "right caption preferred to the swapped one, new scenes": (
                lambda run: run["transformer"]["scenes"]["swapped"]
            ),
            "the same, pairs of things that were withheld": (
                lambda run: run["transformer"]["pairs"]["swapped"]
            ),
        },
        data=(),
        made_up="pictures of two shapes with their captions, drawn by the program",
        intended="Asking whether a text tower reads the order of words.",
        unfit="Pictures of anything else: it knows four colours and four shapes.",
        unmeasured="Wordings other than the one of its captions.",
    ),
}
"""The models that have a card, by the name of their record."""


def card(name: str) -> str:
    """Write a model's card, as Markdown.

    Args:
        name: One of `SUBJECTS`.

    Raises:
        ValueError: If there is no such card.

    Examples:
        >>> print(card("addition").splitlines()[0])
        **An adder of four-digit numbers**

    Source:
        The sections follow [Mitchell et al. 2019][mitchell2019model].
    """
    if name not in SUBJECTS:
        raise ValueError(f"no card of {name!r}; there are {', '.join(SUBJECTS)}")
    subject = SUBJECTS[name]
    model: Any = subject.build()
    runs = recorded(subject.record)
    rows = [
        ("intended use", subject.intended),
        ("not for", subject.unfit),
        ("parameters", f"{sum(p.numel() for p in model.parameters()):,}"),
        ("configuration", _sizes(model)),
        ("learned from", "; ".join(map(_source, subject.data)) or subject.made_up),
    ]
    for what, measure in subject.measures.items():
        values = [measure(run) for run in runs]
        spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
        rows.append((what, f"{mean(values):.3f}{spread} ({len(values)} seeds)"))
    seeds = ", ".join(map(str, EXPERIMENTS[subject.record].seeds))
    rows += [
        ("not measured", subject.unmeasured),
        ("again", f"`python -m llmbook.experiments.results {subject.record}`, seeds {seeds}"),
    ]
    table = [f"| {left} | {right} |" for left, right in rows]
    head = [f"**{subject.title}**", "", "| about | the card says |", "| --- | --- |"]
    return "\n".join([*head, *table])


def datasheet() -> str:
    """List the data files made from others' with origin, licence and check sum, as Markdown.

    Examples:
        >>> "WordSim-353" in datasheet()
        True

    Source:
        A few of the questions of [Gebru et al. 2021][gebru2021datasheets]; the rest need people.
    """
    lines = [
        "| file | from | licence | what was done | SHA-256 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for source in FILES:
        lines.append(
            f"| {source.file} | {source.package} | {source.licence} | {source.what} "
            f"| `{source.sha256[:12]}…` |"
        )
    return "\n".join(lines)


def _sizes(model: Any) -> str:
    config = getattr(model, "config", None)
    if not is_dataclass(config) or isinstance(config, type):
        return type(model).__name__
    flat = {
        key: value
        for key, value in asdict(config).items()
        if isinstance(value, int | float | str) and not isinstance(value, bool)
    }
    parts = [f"{key.replace('_', ' ')} {value}" for key, value in flat.items()]
    return f"{type(model).__name__}: " + ", ".join(parts)


def _source(file: str) -> str:
    (source,) = (source for source in FILES if source.file == file)
    return f"{source.what} (`{file}`, {source.package}; {source.licence})"
