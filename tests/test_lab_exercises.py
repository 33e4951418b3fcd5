"""The labs' exercises: every mistake hears its own message, right answers pass in any form."""

import ast
import csv
import inspect
import math
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from llmbook import labs
from llmbook.labs import Exercise, WrongAnswer
from llmbook.labs.grader import Mistake, difference
from tests.book import DOCS, ROOT, nav
from tests.lab_edits import edits

EXERCISES = {
    f"{lab}.{name}": each for lab in labs.LABS for name, each in labs.exercises(lab).items()
}
PAGES = {lab: DOCS / f"labs/{lab.replace('_', '-')}.py" for lab in labs.LABS}
DOTS = "put your code in place of the dots"


def cells(lab: str) -> list[tuple[str, str]]:
    """The code of a lab's page, each cell with its tag."""
    import jupytext

    found = [cell for cell in jupytext.read(PAGES[lab]).cells if cell.cell_type == "code"]
    return [("".join(cell.metadata.get("tags", [])), cell.source) for cell in found]


def code(source: str) -> str:
    """Source without its layout: a page is narrower than a module."""
    return ast.dump(ast.parse(source))


def reason(check: Callable[[], Any]) -> str:
    """What a check says to a wrong answer."""
    with pytest.raises(WrongAnswer) as caught:
        check()
    return str(caught.value)


class Endless(BaseException):
    """No `Exception`, which the grader would take for one of the learner's."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Stop what runs for ever."""

    def stop(*_: Any) -> None:
        raise Endless

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- the pages ---------------------------------------------------------------------------------


CONCLUSIONS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "word_vectors": lambda made: made["right"] > made["right_without"],
    "tokenizer": lambda made: made["letters_a_token"](
        made["declaration"]()["English"], made["merges"]
    )
    > max(
        made["letters_a_token"](made["declaration"]()[name], made["merges"])
        for name in ("Dutch", "Spanish", "Finnish", "Hausa")
    ),
    "positions": lambda made: (
        np.abs(
            made["scores"](made["query"], made["key"], 1000)
            - made["scores"](made["query"], made["key"], 0)
        ).max()
        < 1e-9
        < 1
        < np.abs(made["scores_of_sums"](1000) - made["scores_of_sums"](0)).max()
    ),
    "block": lambda made: (
        made["likeness"](made["alone"]) > 0.99 > 0.95 > made["likeness"](made["added"])
    ),
    "kv_cache": lambda made: np.allclose(
        made["generate"](made["text"], made["wq"], made["wk"], made["wv"]), made["at_once"]
    ),
    "masking": lambda made: (
        np.mean(made["both"]) > 1.3 * np.mean(made["left"]) > 2 * np.mean(made["most"])
        and np.median(
            [
                made["between"].get((made["words"][i - 1], made["words"][i + 1]), Counter()).total()
                for i in made["places"]
            ]
        )
        <= 2
    ),
    "ngrams": lambda made: (
        np.mean([run["Muon"]["test"] for run in made["runs"]])
        < np.mean(made["scores"])
        < np.mean([run["AdamW"]["test"] for run in made["runs"]])
        and made["counts"] < made["numbers"]
        and np.ptp([np.mean([r[n]["test"] for r in made["runs"]]) for n in ("Muon", "AdamW")])
        > np.mean(made["scores"]) - np.mean([r["Muon"]["test"] for r in made["runs"]])
        and len("".join(made["texts"]).encode()) < 1.001 * len("".join(made["texts"]))
    ),
    "t5_spans": lambda made: made["budget"](512, 0.15, 3.0) == (77, 26),
    "counting": lambda made: all(made["llama"](*s) == count for s, count in made["models"].values()),
    "scaling_law": lambda made: (
        made["error"].max() < 0.11
        and 2 * made["error"][made["small"]].mean() < made["error"][~made["small"]].mean()
    ),
    "contrastive": lambda made: (
        made["found"](made["told"]) > 30 / 297 and (made["guess"] == made["labels"][1500:]).mean() > 0.5
    ),
    "codes": lambda made: (
        made["error"](made["test"], made["codebook"])
        < np.mean((made["test"] - made["dark"][(made["test"] >= 0.5).astype(int)]) ** 2)
    ),
    "canary": lambda made: (
        min(made["exposures"](1, 9)) > 13.2 > 13 > max(made["exposures"](1, 4)) > 2 * max(made["exposures"](0, 9))
    ),
    "private_step": lambda made: (
        np.mean(made["accuracies"][20]) > 0.85 > np.mean(made["accuracies"][320]) > 0.55
    ),
    "group_fairness": lambda made: (
        made["found"]["African-American"]["FPR"] > 1.9 * made["found"]["Caucasian"]["FPR"]
        and abs(made["found"]["African-American"]["PPV"] - made["found"]["Caucasian"]["PPV"]) < 0.05
    ),
    "patching": lambda made: [
        {name: round(float(share), 6) for (_, name), share in made["patch_each"](made["clean"], broken, 5, wrong).items()}
        for broken, wrong in [([0, 6, 5, 1, 2, 3], 2), ([0, 3, 4, 1, 2, 3], 4)]
    ] == [{"a": 1, "b": 0, "c": 0, "d": 1}, {"a": 0, "b": 0, "c": 0, "d": 1}],
    "emissions": lambda made: abs(made["kwh"] / 1_287_000 - 1) < 0.01,
}  # fmt: skip
"""What the text of a page concludes from its last cells."""


@pytest.mark.parametrize("lab", labs.LABS)
def test_a_lab_runs_in_its_order_right_and_wrong(
    lab: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dots are refused, each mistake hears its message, the solution passes; then the next one."""
    made: dict[str, Any] = {}
    kinds, asked, last = [], list(labs.exercises(lab).values()), ""
    todo = iter(asked)
    for tag, source in cells(lab):
        kinds.append(tag)
        if tag == "exercise":
            exercise = next(todo)
            assert code(source) == code(exercise.stub)
        elif tag == "solution":
            assert code(source) == code(exercise.source)
            last = source
        elif tag == "check":
            assert source == f"lab.{exercise.name}.check({exercise.name})"
            exec(exercise.stub, made)
            assert DOTS in reason(partial(exec, source, made))
            for mistake in exercise.mistakes:
                exec(exercise.broken(mistake), made)
                assert reason(partial(exec, source, made)) == mistake.message
            exec(last, made)
        exec(source, made)
        printed = capsys.readouterr().out.strip()
        if tag == "wrong":
            assert printed in [mistake.message for each in asked for mistake in each.mistakes]
    assert [kind for kind in kinds if kind and kind != "wrong"] == [
        "exercise", "solution", "check",
    ] * len(asked)  # fmt: skip
    assert kinds.count("wrong") == 1
    assert 4 <= len(asked) <= 7
    assert CONCLUSIONS[lab](made)


def test_every_page_has_its_exercises_and_every_lab_its_page() -> None:
    """In the folder, in the navigation, in the list."""
    pages = {path.stem for path in (DOCS / "labs").glob("*.py")}
    assert pages == {path.stem for path in PAGES.values()} | {"attention-by-hand"}
    assert {page for page in nav() if page.startswith("labs/")} >= {
        f"labs/{name}.ipynb" for name in pages
    }


@pytest.mark.parametrize("lab", labs.LABS)
def test_a_page_says_what_it_needs(lab: str) -> None:
    """Time, what to know before, the chapter, and at the end a question that nobody checks."""
    text = PAGES[lab].read_text(encoding="utf-8")
    prose = re.sub(r"\n# ?", " ", text)
    assert "half an hour" in prose
    assert "You need this book's package" in prose
    chapters = re.findall(r"\]\(\.\./([\w/-]+\.md)", text)
    assert any(chapter.split("/")[0] in ("evolution", "transformer", "models", "challenges")
               for chapter in chapters)  # fmt: skip
    assert all((DOCS / chapter).exists() for chapter in chapters)
    assert text.count("## An open question") == 1
    assert prose.rstrip().endswith("Nobody checks this answer.")
    assert "import torch" not in text


def test_labs_need_numpy_alone() -> None:
    """Nothing that a page imports brings torch, SciPy or matplotlib with it."""
    imports = {
        line
        for path in PAGES.values()
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"(from [\w.]+ )?import ", line)
    }
    heavy = "{'torch', 'scipy', 'sklearn', 'pandas', 'matplotlib'}"
    code = "\n".join([*sorted(imports), f"import sys; sys.exit(bool({heavy} & set(sys.modules)))"])
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert len(imports) > 20


# --- the grader --------------------------------------------------------------------------------


FORMS: dict[str, Callable[[Any], Any]] = {
    "list": lambda right: right.tolist(),
    "float32": lambda right: right.astype(np.float32),
    "Fortran order": lambda right: np.asfortranarray(right) if right.ndim else right,
    "tensor": torch.from_numpy,
    "tensor with gradient": lambda right: torch.tensor(
        right, dtype=torch.float64, requires_grad=True
    ),
    "objects": lambda right: right.astype(object).tolist(),
}


def formed(function: Callable[..., Any], form: Callable[[Any], Any]) -> Callable[..., Any]:
    """The same function, whose arrays and numbers come in another form."""

    def change(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: change(value[key]) for key in reversed(list(value))}
        if isinstance(value, (tuple, list)):
            return [change(each) for each in value]
        if isinstance(value, (np.ndarray, np.generic)) and np.asarray(value).dtype.kind in "fiub":
            return form(np.array(value))
        return value

    return lambda *args: change(function(*args))


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_passes_in_any_form(name: str) -> None:
    """Arrays, lists, tensors, float32; tuples as lists; dictionaries in another order."""
    exercise = EXERCISES[name]
    for form in FORMS.values():
        assert exercise.check(formed(exercise.solution, form)) == f"Right: {exercise.praise}."


@pytest.mark.parametrize("name", EXERCISES)
def test_a_mistake_hears_its_message_in_any_form(name: str) -> None:
    """The mistakes are made from the solution; no two of an exercise say the same."""
    exercise = EXERCISES[name]
    assert len({mistake.message for mistake in exercise.mistakes}) == len(exercise.mistakes) >= 4
    for mistake in exercise.mistakes:
        wrong = exercise.mistaken(mistake)
        for form in ("list", "float32", "tensor"):
            answer = formed(wrong, FORMS[form])
            assert reason(partial(exercise.check, answer)) == mistake.message


@pytest.mark.parametrize("name", EXERCISES)
def test_no_small_edit_passes_that_changes_what_is_computed(name: str) -> None:
    """Operators swapped, numbers shifted, lines left out: refused, or equivalent with a reason."""
    exercise = EXERCISES[name]
    with (ROOT / "tests/data/lab-equivalents.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    known = Counter(row["edit"] for row in rows if row["exercise"] == name)
    passed, refused = Counter[str](), 0
    for what, source in edits(exercise.source):
        with at_most(1):
            try:
                exercise.check(exercise.compiled(source))
                passed[what] += 1
            except (WrongAnswer, Endless):
                refused += 1
    assert passed == known
    assert refused


@pytest.mark.parametrize("name", EXERCISES)
def test_a_difference_does_not_tell_the_right_number(name: str) -> None:
    """It says where, and what yours is."""
    exercise = EXERCISES[name]
    rights = [value for value, _ in exercise.outcomes(exercise.solution)]
    if not isinstance(rights[0], (float, int, np.ndarray, np.generic)):
        return
    rng = np.random.default_rng(1)
    off = [np.asarray(right) * 1.37 + rng.uniform(3, 9, np.shape(right)) for right in rights]
    answers = iter(off)
    message = reason(lambda: exercise.check(lambda *_: next(answers)))
    (first, wrong) = next((r, o) for r, o in zip(rights, off, strict=True) if np.size(r))
    said = message.split("yours is ")[1]
    assert float(said) == pytest.approx(float(np.ravel(wrong)[0]), rel=1e-3)
    assert said not in (f"{np.ravel(first)[0]:.4g}", f"{np.ravel(first)[0]:.10g}")


@pytest.mark.parametrize("name", EXERCISES)
def test_the_parts_of_a_mistake_stand_once_in_the_solution(name: str) -> None:
    """And what an exercise asks for is said in a line."""
    exercise = EXERCISES[name]
    for mistake in exercise.mistakes:
        assert exercise.broken(mistake) != exercise.source
        assert not mistake.message.endswith(".")
    assert exercise.task.endswith(".")
    assert max(map(len, exercise.stub.splitlines())) <= 74  # the column of a page
    assert len(exercise.praise) <= 54
    with pytest.raises(ValueError, match="0 times, not once"):
        exercise.broken(Mistake("no such piece", "", ""))


OTHERS: dict[str, Callable[..., Any]] = {
    "tokenizer.count_pairs": lambda words: {
        pair: sum(
            count * sum((word[i], word[i + 1]) == pair for i in range(len(word) - 1))
            for word, count in words.items()
        )
        for pair in {(w[i], w[i + 1]) for w in words for i in range(len(w) - 1)}
    },
    "tokenizer.best_pair": lambda pairs: sorted(pairs.items(), key=lambda p: (-p[1], p[0]))[0][0],
    "word_vectors.normalise": lambda v: [[x / math.hypot(*row) for x in row] for row in v],
    "word_vectors.analogy": lambda unit, a, b, c: next(
        i for i in np.argsort(-unit @ (unit[b] - unit[a] + unit[c])) if i not in (a, b, c)
    ),
    "positions.sinusoids": lambda length, d: [
        [
            (math.sin if i % 2 == 0 else math.cos)(p / 10000 ** ((i - i % 2) / d))
            for i in range(d)
        ]
        for p in range(length)
    ],
    "block.split": lambda x, heads: [list(np.hsplit(x, heads)[i]) for i in range(heads)],
    "block.join": lambda x: np.concatenate(list(x), axis=1),
    "kv_cache.products": lambda n, d: (sum(2 * d * d * t for t in range(1, n + 1)), 2 * n * d**2),
    "masking.masked_loss": lambda logs, labels: np.mean(
        [-logs[i][label] for i, label in enumerate(labels) if label >= 0]
    ),
    "ngrams.bits": lambda tables, text, size: -np.mean(
        [
            math.log2(labs.exercises("ngrams")["smoothed"](tables, text[:i], letter, size))
            for i, letter in enumerate(text)
        ]
    ),
    "t5_spans.source_of": lambda words, spans: [
        f"<{[s for s, _ in spans].index(i)}>" if i in [s for s, _ in spans] else word
        for i, word in enumerate(words)
        if not any(start < i < end for start, end in spans)
    ],
    "scaling_law.power_law": lambda x, y: (
        lambda k: (math.exp(np.mean(np.log(y)) - k * np.mean(np.log(x))), k)
    )(np.cov(np.log(x), np.log(y))[0, 1] / np.var(np.log(x), ddof=1)),
    "contrastive.clip_loss": lambda z: np.mean(
        [
            np.logaddexp.reduce(z[i]) / 2 + np.logaddexp.reduce(z[:, i]) / 2 - z[i, i]
            for i in range(len(z))
        ]
    ),
    "codes.encode": lambda x, book: [
        min(range(len(book)), key=lambda c: sum((a - b) ** 2 for a, b in zip(row, book[c], strict=True)))
        for row in x
    ],
    "canary.pieces": lambda text, n: {
        piece: sum(text.startswith(piece, i) for i in range(len(text)))
        for piece in {text[i : i + n] for i in range(len(text)) if i + n <= len(text)}
    },
    "private_step.clip": lambda rows, limit: [
        row if np.linalg.norm(row) <= limit else limit * row / np.linalg.norm(row) for row in rows
    ],
    "group_fairness.false_positive_rate": lambda labels, flagged: (
        sum(f and not y for y, f in zip(labels, flagged, strict=True)) / sum(not y for y in labels)
    ),
    "emissions.bounds": lambda factors, divisors: (
        math.prod(a for a, _ in factors) / math.prod(b for _, b in divisors),
        math.prod(b for _, b in factors) / math.prod(a for a, _ in divisors),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_another_way_to_the_same_result_passes(name: str) -> None:
    """A loop for a product, a comprehension for a loop, another order, another formula."""
    assert EXERCISES[name].check(OTHERS[name]).startswith("Right: ")


def test_an_answer_that_is_none_is_told_so() -> None:
    """Dots, nothing returned, a call in place of the function, errors with their line."""
    exercise = EXERCISES["counting.linear"]
    for nothing in (..., None, lambda *_: None):
        assert DOTS in reason(lambda: exercise.check(nothing))  # noqa: B023
    assert "without calling it: check(linear)" in reason(lambda: exercise.check(12))

    def stops(inputs: int, outputs: int, bias: bool) -> float:
        half = inputs / 0
        return half

    told = reason(lambda: exercise.check(stops))
    assert "linear(3, 2, True) stops with ZeroDivisionError: division by zero, in line" in told
    assert told.endswith(": half = inputs / 0")
    assert "missing 1 required positional" in reason(lambda: exercise.check(lambda a, b, c, d: 1))
    assert "returns nothing" in reason(
        lambda: exercise.check(lambda i, o, b: i * o + o * b if b else None)
    )


def test_a_learners_function_cannot_change_what_it_is_judged_by() -> None:
    """It gets copies, each time anew; and hears that the notebook's own arrays are none."""
    exercise = EXERCISES["word_vectors.normalise"]
    before = [case[0].copy() for case in exercise.cases]

    def in_place(vectors: np.ndarray) -> np.ndarray:
        vectors /= np.sqrt((vectors**2).sum(axis=1, keepdims=True))
        return vectors

    for _ in range(2):
        assert exercise.check(in_place).endswith("work on a copy.")
    assert "copy" not in exercise.check(exercise.solution)
    for case, kept in zip(exercise.cases, before, strict=True):
        np.testing.assert_array_equal(case[0], kept)


@pytest.mark.parametrize(
    ("given", "wanted", "told"),
    [
        ([1.0, np.nan], [1.0, 2.0], "there is a NaN (not a number) in it"),
        ([1.0], [1.0, 2.0], "should have the shape (2,), yours has (1,)"),
        (np.ones((2, 1)), np.ones((1, 2)), "should have the shape (1, 2), yours has (2, 1)"),
        ("ab", 1.0, "should be numbers, yours is 'ab'"),
        ([[1.0], [2.0, 3.0]], np.ones((2, 2)), "should be numbers, yours is [[1.0], [2.0, 3.0]]"),
        ({"a": 1}, {"a": 1, "b": 2}, "1 entry is missing"),
        ({"c": 1}, {"a": 1}, "'c' should not be there"),
        ([1], {"a": 1}, "should be a dictionary, yours is of type list"),
        (["a", "c"], ["a", "b"], "at place 1 (counted from 0), yours is 'c'"),
        (["a"], ["a", "b"], "should hold 2, yours holds 1: ['a']"),
        (3, ["a", "b"], "should be a list or tuple, yours is of type int"),
        (np.zeros(3), (np.zeros(3), 1), "should be 2 results, yours is one: [0.0, 0.0, 0.0]"),
        (1000001, 1000000, "yours is 1000001"),
        ([1, 2.5], [1, 2], "1 of 2 numbers is wrong, the first at place 1 (counted from 0): yours is 2.5"),
        (np.zeros((2, 3)), np.eye(2, 3), "2 of 6 numbers are wrong, the first in row 0, column 0 (counted from 0): yours is 0"),
        (None, 1, "returns nothing"),
        (1, None, "should be None, yours is 1"),
        ({1, 2}, {1}, "yours is {1, 2}"),
        (np.zeros((1, 2, 2)), np.ones((2, 2)), "4 of 4 numbers are wrong, the first in row 0, column 0 (counted from 0): yours is 0"),
        (np.zeros((2, 2, 2)), np.ones((2, 2, 2)), "8 of 8 numbers are wrong, the first at [0, 0, 0] (counted from 0): yours is 0"),
    ],
)  # fmt: skip
def test_a_difference_is_located(given: Any, wanted: Any, told: str) -> None:
    """In a list, a table, a dictionary; and never by the number that it should be."""
    wanted = np.array(wanted) if isinstance(wanted, list) and wanted[0] == 1 else wanted
    assert difference(given, wanted) == told


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((1.00005, 2.0), np.array([1.0, 2.0])),
        (1000000.0, 1000000),
        (np.float32(124439808), 124439808),
        (iter([1, 2]), [1, 2]),
        (Counter("aab"), {"b": 1, "a": 2}),
        ([np.inf, -np.inf], np.array([np.inf, -np.inf])),
        ([["a"], ["b"]], [("a",), ("b",)]),
        ((np.zeros(2), np.zeros(3)), [np.zeros(2), np.zeros(3)]),
        ([2, 1], {1, 2}),
        ([], np.zeros(0)),
    ],
)
def test_what_is_the_same_in_another_form_is_no_difference(given: Any, wanted: Any) -> None:
    """Types of numbers and of sequences do not matter."""
    assert difference(given, wanted) is None


def test_a_value_may_be_asked_for() -> None:
    """Where the solution takes no argument, a number is an answer, and so is a function."""

    def half() -> float:
        """Half of 3."""
        return 3 / 2

    exercise = Exercise(
        half, lambda rng: [()], [Mistake("3 / 2", "3 // 2", "rounded down")], "half"
    )
    for right in (1.5, "1.5" and [1.5], half, np.float32(1.5)):
        assert exercise.check(right) == "Right: half."
    assert reason(lambda: exercise.check(1)) == "rounded down"
    assert reason(lambda: exercise.check(7)) == "yours is 7"
    assert DOTS in reason(lambda: exercise.check(...))


def test_an_unknown_lab_is_named() -> None:
    """With those that there are."""
    with pytest.raises(ValueError, match=r"lab must be one of .*, got 'knitting'"):
        labs.exercises("knitting")


def test_solutions_are_what_their_modules_hold() -> None:
    """An exercise can be called as its solution, and names what it asks for."""
    for exercise in EXERCISES.values():
        assert list(inspect.signature(exercise.solution).parameters)
        value = exercise(*exercise.cases[0])
        assert difference(value, exercise.outcomes(exercise.solution)[0][0]) is None


def test_the_edits_are_of_every_kind() -> None:
    """Else surviving them would prove little."""
    source = '''def f(x):
    """Text 1."""
    y = x + 1 if x < 2 else -x
    y += min(x, 3)
    return y and x @ y
'''
    made = [what for what, _ in edits(source)]
    for kind in ("x - 1", "x + 2", "x <= 2", "2 < x", "+x", "y -= ", "max(x, 3)", "min(3, x)",
                 "y or x", "y @ x", "pass"):  # fmt: skip
        assert any(kind in what.split(" -> ")[1] for what in made), kind
    assert not any("Text" in what for what in made)
