"""`llmbook.labs`: the right answer passes in every form, each wrong one hears its own reason."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmbook import labs
from llmbook.labs import WrongAnswer
from llmbook.numpy_attention import self_attention, softmax

LAB = Path(__file__).parents[1] / "docs/labs/attention-by-hand.py"
Q = np.array([[1, 0, 1, 0], [0, 2, 0, 0], [1, 1, 0, 0]])
K = np.array([[0, 1, 1, 0], [2, 0, 0, 1], [0, 2, 1, 1]])
V = np.array([[1, 0], [0, 1], [2, 2]])
MASK = np.tril(np.ones((3, 3), dtype=bool))

SCORES = Q @ K.T
SCALED = SCORES / 2
MASKED = np.where(MASK, SCALED, -np.inf)
WEIGHTS = softmax(MASKED)
OUTPUT = WEIGHTS @ V
UNMASKED = softmax(SCALED)

CHECKS: dict[str, tuple[Callable[[Any], str], np.ndarray]] = {
    "scores": (lambda answer: labs.check_scores(answer, Q, K), SCORES),
    "scaled": (lambda answer: labs.check_scaled(answer, Q, K), SCALED),
    "masked": (lambda answer: labs.check_masked(answer, Q, K, MASK), MASKED),
    "weights": (lambda answer: labs.check_weights(answer, Q, K, MASK), WEIGHTS),
    "output": (lambda answer: labs.check_output(answer, Q, K, V, MASK), OUTPUT),
}
FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "array": lambda right: right,
    "list": lambda right: right.tolist(),
    "tuple": lambda right: tuple(map(tuple, right.tolist())),
    "list of arrays": list,
    "float32": lambda right: right.astype(np.float32),
    "float16": lambda right: right.astype(np.float16),
    "two decimals": lambda right: right.round(2),
    "Fortran order": np.asfortranarray,
    "with a batch axis": lambda right: right[None],
    "with batch and head": lambda right: right[None, None],
    "tensor": torch.from_numpy,
    "float32 tensor": lambda right: torch.tensor(right, dtype=torch.float32),
    "bfloat16 tensor": lambda right: torch.tensor(right, dtype=torch.bfloat16),
    "tensor with gradient": lambda right: torch.tensor(
        right, dtype=torch.float64, requires_grad=True
    ),
    "list of tensors": lambda right: list(
        torch.tensor(right, dtype=torch.float64, requires_grad=True)
    ),
    "object array": lambda right: right.astype(object).tolist(),
}
WRONG: list[tuple[str, Any, str]] = [
    ("scores", SCORES.T, "transposed"),
    ("scores", SCALED, "already divided"),
    ("scores", Q * K, "number by number"),
    ("scores", Q @ Q.T, "the keys are missing"),
    ("scores", K @ K.T, "the queries are missing"),
    ("scores", Q.T @ K, "use q @ k.T"),
    ("scores", UNMASKED, "these are weights already"),
    ("scaled", SCORES, "these are the scores without the division by √d_k"),
    ("scaled", SCORES / 4, "instead of by its root"),
    ("scaled", SCORES * 2, "multiplied by √d_k"),
    ("scaled", SCORES / np.sqrt(3), "number of words"),
    ("scaled", SCORES / SCORES.std(), "own spread"),
    ("scaled", SCALED.T, "transposed"),
    ("scaled", UNMASKED, "weights already"),
    ("masked", SCALED, "nothing is masked"),
    ("masked", SCALED * MASK, "forbidden scores are 0"),
    ("masked", np.where(MASK, SCALED, np.inf), "plus infinity"),
    ("masked", np.where(~MASK, SCALED, -np.inf), "wrong way round"),
    ("masked", np.where(MASK.T, SCALED, -np.inf), "the mask is transposed"),
    ("masked", np.where(MASK, SCORES, -np.inf), "without the division"),
    ("masked", MASKED.T, "transposed: a row"),
    ("masked", WEIGHTS, "weights already"),
    ("masked", np.where(MASK, np.nan, -np.inf), "choose with np.where"),
    ("weights", softmax(MASKED.T).T, "softmax ran over the queries: columns sum to 1, rows should"),
    ("weights", softmax(SCALED.T).T * MASK, "softmax ran over the queries"),
    ("weights", softmax(SCALED.T).T, "softmax ran over the queries"),
    ("weights", UNMASKED * MASK, "the mask is applied after the softmax: rows no longer sum to 1"),
    ("weights", UNMASKED, "the mask is missing"),
    ("weights", softmax(SCALED * MASK), "exp(0) is 1"),
    ("weights", softmax(np.where(MASK, SCORES, -np.inf)), "not divided by √d_k"),
    ("weights", np.exp(MASKED), "divide each row by its sum"),
    ("weights", np.exp(MASKED) / np.exp(MASKED).sum(), "sum over all pairs"),
    ("weights", MASK / MASK.sum(axis=1, keepdims=True), "equal weights"),
    ("weights", np.exp2(MASKED) / np.exp2(MASKED).sum(1, keepdims=True), "powers of 2"),
    ("weights", MASKED, "still scores"),
    ("weights", SCALED, "still scores"),
    ("weights", WEIGHTS.T, "transposed"),
    ("weights", np.full((3, 3), np.nan), "subtract each row's maximum"),
    ("weights", -np.ones((3, 3)), "a weight is negative"),
    ("weights", WEIGHTS * 0.9, "row 0 sums to 0.90"),
    ("output", OUTPUT.T, "transposed: a row belongs to a query"),
    ("output", WEIGHTS.T @ V, "the weights are transposed"),
    ("output", UNMASKED @ V, "the mask is missing"),
    ("output", (UNMASKED * MASK) @ V, "applied after the softmax"),
    ("output", WEIGHTS @ K, "averages the keys"),
    ("output", WEIGHTS, "these are the weights"),
    ("output", WEIGHTS[..., None] * V, "the sum over the words is missing"),
    ("output", V, "the values themselves"),
    ("output", np.tile(V.mean(axis=0), (3, 1)), "plain averages"),
    ("output", softmax(np.where(MASK, SCORES, -np.inf)) @ V, "not divided by √d_k"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CHECKS)
def test_the_right_answer_passes_in_any_form(name: str, form: str) -> None:
    """Lists, arrays and tensors of any float type, also inside a batch of one."""
    check, right = CHECKS[name]
    assert check(FORMS[form](right.astype(np.float64))).startswith("Right: ")


@pytest.mark.parametrize(("name", "wrong", "reason"), WRONG)
def test_a_wrong_answer_hears_its_reason(name: str, wrong: Any, reason: str) -> None:
    """Whatever its form: the same reason for an array and for a tensor in a batch of one."""
    check, _ = CHECKS[name]
    for form in ("array", "list", "with a batch axis", "float32 tensor"):
        with pytest.raises(WrongAnswer, match=re.escape(reason)):
            check(FORMS[form](np.asarray(wrong, dtype=np.float64)))


@pytest.mark.parametrize("name", CHECKS)
def test_the_reasons_of_one_check_differ(name: str) -> None:
    """At least three wrong answers that are told three different things."""
    check, _ = CHECKS[name]
    told = set()
    for which, wrong, _ in WRONG:
        if which == name:
            with pytest.raises(WrongAnswer) as caught:
                check(wrong)
            told.add(str(caught.value))
    assert len(told) >= 5


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (..., "put your code in place of the dots"),
        (None, "put your code in place of the dots"),
        ("0.5", "must be numbers, got str"),
        ([[1.0, 2.0], [3.0]], "rows of different lengths"),
        (np.ones((3, 7)), r"the shape \(3, \d\), yours have \(3, 7\)"),
        (5.0, r"yours have \(\)"),
        (np.full((3, 3), 1j), "must be numbers"),
        (np.full((3, 3), np.nan), "NaN"),
    ],
)
def test_what_is_no_answer_is_told_so(name: str, wrong: Any, reason: str) -> None:
    """Dots, text, ragged lists, other shapes, NaN."""
    with pytest.raises(WrongAnswer, match=reason):
        CHECKS[name][0](wrong)


@pytest.mark.parametrize("name", CHECKS)
def test_an_unknown_mistake_is_located(name: str) -> None:
    """A single wrong number: its place and itself, but not what it should be."""
    check, right = CHECKS[name]
    wrong = right.astype(np.float64).copy()
    if name == "weights":  # so that the rows still sum to 1
        wrong[2] = [0.9, 0.05, 0.05]
        place = "row 2, column 0"
    else:
        wrong[2, 1] += 7
        place = "row 2, column 1"
    with pytest.raises(WrongAnswer, match=f"wrong, the first in {place}"):
        check(wrong)


def test_any_very_negative_number_stands_for_minus_infinity() -> None:
    """What people write instead of infinity has the same weights."""
    for closed in (-1e9, -1e4, np.finfo(np.float16).min, -np.inf):
        assert labs.check_masked(np.where(MASK, SCALED, closed), Q, K, MASK)
    with pytest.raises(WrongAnswer):
        labs.check_masked(np.where(MASK, SCALED, -5.0), Q, K, MASK)


def test_masking_after_the_softmax_is_right_once_rows_are_divided_again() -> None:
    """It is the same number, so it must pass."""
    late = UNMASKED * MASK
    assert labs.check_weights(late / late.sum(axis=1, keepdims=True), Q, K, MASK)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("masked", [False, True])
def test_whatever_self_attention_computes_passes(seed: int, masked: bool) -> None:
    """Other sizes, other numbers, inputs as lists or tensors; also where scores are huge."""
    rng = np.random.default_rng(seed)
    queries, keys, d_k, d_v = rng.integers(1, 6, 4)
    scale = [1, 1, 1000][seed % 3]
    q, k = scale * rng.normal(size=(queries, d_k)), rng.normal(size=(keys, d_k))
    v = rng.normal(size=(keys, d_v))
    mask = np.tril(np.ones((queries, keys), dtype=bool)) if masked else None
    output, weights = self_attention(q, k, v, mask)
    inputs = (q.tolist(), torch.from_numpy(k))
    assert labs.check_scores(q @ k.T, *inputs)
    assert labs.check_scaled(q @ k.T / np.sqrt(d_k), *inputs)
    assert labs.check_weights(weights, *inputs, mask)
    assert labs.check_output(output, *inputs, v, mask)


def test_inputs_that_make_no_problem_are_refused() -> None:
    """A mistake of the lab's author is no wrong answer."""
    with pytest.raises(ValueError, match="two axes") as caught:
        labs.check_scores(SCORES, Q[0], K)
    assert not isinstance(caught.value, WrongAnswer)
    with pytest.raises(ValueError, match="without any key"):
        labs.check_weights(WEIGHTS, Q, K, np.zeros((3, 3)))


def test_the_lab_runs_from_top_to_bottom_and_its_wrong_answers_are_told_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each exercise has a solution and a check; the wrong answers on the page print a reason."""
    import jupytext

    names: dict[str, Any] = {}
    kinds: list[str] = []
    reasons: list[str] = []
    for cell in jupytext.read(LAB).cells:
        if cell.cell_type != "code":
            continue
        tags = set(cell.metadata.get("tags", []))
        kinds += tags & {"exercise", "solution", "check"}
        exec(cell.source, names)
        printed = capsys.readouterr().out.strip()
        if "wrong" in tags:
            reasons.append(printed)
    assert kinds == ["exercise", "solution", "check"] * 6
    assert reasons == [
        "these are the scores without the division by √d_k",
        "the mask is applied after the softmax: rows no longer sum to 1",
    ]
    np.testing.assert_allclose(names["weights"], WEIGHTS)


def test_the_lab_needs_no_torch() -> None:
    """Neither the lab nor its checks import it, so that a browser's Python can run them."""
    import subprocess
    import sys

    code = "import sys, llmbook.labs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert "import torch" not in LAB.read_text(encoding="utf-8")


def test_the_mask_of_the_checks_is_the_causal_one() -> None:
    """And no check cell of the lab shows how it is made."""
    assert np.array_equal(labs.no_later(["a", "b", "c"]), MASK)
    cells = re.split(r"(?m)^# %%", LAB.read_text(encoding="utf-8"))
    checks = [cell for cell in cells if 'tags=["check"]' in cell]
    assert len(checks) == 6
    assert not any("tril" in cell or "np." in cell for cell in checks)
