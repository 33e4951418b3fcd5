"""A grader that knows the classical mistakes, which it makes from the solution.

An exercise holds its solution as a function, the cases on which an answer is judged, and mistakes:
small edits of the solution's source, each with what a learner should hear. An answer that does on
every case what a mistake does hears of that mistake; any other wrong answer hears where it differs.
"""

import ast
import copy
import inspect
import linecache
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

RELATIVE, OF_LARGEST, OF_WHOLE = 1e-4, 1e-5, 1e-6  # what float32 may lose
IN_PLACE = " But it changes what it is given, and later cells will see that: work on a copy."


class WrongAnswer(ValueError):  # noqa: N818  (a learner reads the name)
    """An answer that is not right; the message says what it seems to be instead."""


@dataclass(frozen=True)
class Mistake:
    """A classical mistake, as an edit of the solution.

    Attributes:
        right: The piece of the solution that is replaced; it occurs exactly once.
        wrong: What stands there instead.
        message: What a learner hears.
    """

    right: str
    wrong: str
    message: str


Case = tuple[Any, ...]
Outcome = tuple[Any, Exception | None]


class Exercise:
    """What a learner writes: a function, or a number if the solution takes no argument.

    Args:
        solution: The right answer; its source makes the mistakes.
        cases: Arguments for it from a random generator, several times: small ones, odd ones.
        mistakes: The classical ones.
        praise: What a right answer has shown.
    """

    def __init__(
        self,
        solution: Callable[..., Any],
        cases: Callable[[np.random.Generator], Sequence[Case]],
        mistakes: Sequence[Mistake],
        praise: str,
    ) -> None:
        self.solution, self.mistakes, self.praise = solution, tuple(mistakes), praise
        self.name, self.task = solution.__name__, inspect.getdoc(solution) or ""
        self._cases = cases

    def __call__(self, *args: Any) -> Any:
        """What the solution computes, for exercises that build on this one."""
        return self.solution(*args)

    @cached_property
    def source(self) -> str:
        """The solution's source, from its `def` on."""
        lines, _ = inspect.getsourcelines(self.solution)
        text = textwrap.dedent("".join(lines))
        start = ast.parse(text).body[0].lineno
        return "".join(text.splitlines(keepends=True)[start - 1 :])

    @property
    def head(self) -> str:
        """The solution's first lines, which say what it is for."""
        function = ast.parse(self.source).body[0]
        assert isinstance(function, ast.FunctionDef)
        lines = self.source.splitlines(keepends=True)
        return "".join(lines[: function.body[0].end_lineno])

    @property
    def stub(self) -> str:
        """What a learner starts from: the first lines, and dots."""
        return f"{self.head}    ..."

    @cached_property
    def cases(self) -> Sequence[Case]:
        """The arguments on which an answer is judged, the same every time."""
        return self._cases(np.random.default_rng(0))

    def compiled(self, source: str) -> Callable[..., Any]:
        """A function of this name from another source, among the names of the solution's module."""
        names = dict(inspect.unwrap(self.solution).__globals__)
        exec(compile(source, f"<{self.name}>", "exec"), names)  # noqa: S102
        function: Callable[..., Any] = names[self.name]
        return function

    def mistaken(self, mistake: Mistake) -> Callable[..., Any]:
        """The solution with a mistake in it."""
        return self.compiled(self.broken(mistake))

    def broken(self, mistake: Mistake) -> str:
        """The source of the solution with a mistake in it.

        Raises:
            ValueError: If the code does not hold the right piece exactly once.
        """
        code = self.source.removeprefix(self.head)
        if (count := code.count(mistake.right)) != 1:
            raise ValueError(f"{self.name} holds {mistake.right!r} {count} times, not once")
        return self.head + code.replace(mistake.right, mistake.wrong)

    def outcomes(self, function: Callable[..., Any]) -> list[Outcome]:
        """What a function returns or raises for each case; it gets copies of the arguments."""
        return [_run(function, case) for case in self.cases]

    @cached_property
    def _right(self) -> list[Outcome]:
        return self.outcomes(self.solution)

    @cached_property
    def _wrong(self) -> list[tuple[str, list[Outcome]]]:
        return [(each.message, self.outcomes(self.mistaken(each))) for each in self.mistakes]

    def check(self, answer: Any) -> str:
        """Judge an answer.

        Args:
            answer: The learner's function; where none is asked for, its value will do.

        Returns:
            A line of praise.

        Raises:
            WrongAnswer: If it is wrong, with the mistake that it makes or the place where it
                differs, but not with the right answer.

        Examples:
            >>> from llmbook.labs.counting import linear
            >>> linear.check(lambda inputs, outputs, bias: outputs * (inputs + bias))
            'Right: a weight for each pair, an offset for each output.'
            >>> linear.check(lambda inputs, outputs, bias: inputs + outputs + outputs * bias)
            Traceback (most recent call last):
            llmbook.labs.grader.WrongAnswer: each input meets each output: multiply them
        """
        if answer is None or answer is ...:
            raise WrongAnswer("there is no answer yet: put your code in place of the dots")
        if not callable(answer):
            if self.cases[0]:
                raise WrongAnswer(
                    f"hand in the function itself, without calling it: check({self.name})"
                )
            value = answer
            answer = lambda: value  # noqa: E731
        given = self.outcomes(answer)
        if all(value is None and error is None for value, error in given):
            raise WrongAnswer(
                "it returns nothing: put your code in place of the dots, and end with return"
            )
        if _agree(given, self._right):
            return f"Right: {self.praise}.{IN_PLACE * _changes(answer, self.cases)}"
        for message, wrong in self._wrong:
            if _agree(given, wrong):
                raise WrongAnswer(message)
        for case, (value, error), (wanted, _) in zip(self.cases, given, self._right, strict=True):
            call = _call(self.name, case)
            if error is not None:
                raise WrongAnswer(f"{call} stops with {_described(error, answer)}") from None
            if found := difference(value, wanted):
                raise WrongAnswer(f"{call}: {found}" if case else found)
        raise AssertionError("an answer that differs nowhere")  # pragma: no cover


def exercise(
    cases: Callable[[np.random.Generator], Sequence[Case]],
    *mistakes: tuple[str, str, str],
    right: str,
) -> Callable[[Callable[..., Any]], Exercise]:
    """Make an exercise of the function below it.

    Args:
        cases: Arguments for it, made with a random generator.
        mistakes: Each a piece of the function's source, what stands there instead, and a message.
        right: What a right answer has shown.
    """
    made = [Mistake(*mistake) for mistake in mistakes]
    return lambda solution: Exercise(solution, cases, made, right)


def difference(given: Any, wanted: Any) -> str | None:
    """Where two results differ, in words that do not say what is right; `None` if they do not.

    Lists, tuples, arrays and tensors are the same, and so are whole numbers in any type; floats
    may differ by what single precision loses.

    Args:
        given: Yours.
        wanted: What it should be.

    Examples:
        >>> difference([1.0, 2.5], np.array([1.0, 2.0]))
        '1 of 2 numbers is wrong, the first at place 1 (counted from 0): yours is 2.5'
        >>> difference({"a": 1.0}, {"a": 1}) is None
        True
    """
    given = _plain(given)
    if wanted is None:
        return None if given is None else f"should be None, yours is {_short(given)}"
    if given is None:
        return "returns nothing"
    if isinstance(wanted, Mapping):
        return _of_mappings(given, wanted)
    if isinstance(wanted, AbstractSet):
        same = isinstance(given, (AbstractSet, list, tuple)) and set(given) == wanted
        return None if same else f"yours is {_short(given)}"
    if isinstance(wanted, (str, bytes)):
        same = isinstance(given, type(wanted)) and given == wanted
        return None if same else f"yours is {_short(given)}"
    if (
        isinstance(wanted, tuple)
        and isinstance(given, np.ndarray)
        and given.shape[:1] != (len(wanted),)
    ):
        return f"should be {len(wanted)} results, yours is one: {_short(given)}"
    if (numbers := _numbers(wanted)) is not None:
        return _of_numbers(given, numbers)
    if isinstance(given, (str, bytes, Mapping)) or not hasattr(given, "__len__"):
        return f"should be a list or tuple, yours is of type {type(given).__name__}"
    if len(given) != len(wanted):
        return f"should hold {len(wanted)}, yours holds {len(given)}: {_short(given)}"
    for place, pair in enumerate(zip(given, wanted, strict=True)):
        if found := difference(*pair):
            return f"at place {place} (counted from 0), {found}"
    return None


def _of_mappings(given: Any, wanted: Mapping[Any, Any]) -> str | None:
    if not isinstance(given, Mapping):
        return f"should be a dictionary, yours is of type {type(given).__name__}"
    if extra := [key for key in given if key not in wanted]:
        return f"{extra[0]!r} should not be there"
    if missing := len(wanted) - len(given):
        return f"{missing} {'entry is' if missing == 1 else 'entries are'} missing"
    for key, value in wanted.items():
        if found := difference(given[key], value):
            return f"at {key!r}, {found}"
    return None


def _of_numbers(given: Any, wanted: np.ndarray) -> str | None:
    array = _numbers(given)
    if array is None:
        return f"should be numbers, yours is {_short(given)}"
    if not array.size and not wanted.size:
        return None
    if [n for n in array.shape if n != 1] != [n for n in wanted.shape if n != 1] or (
        array.shape[-2:] == wanted.shape[:-3:-1] != wanted.shape[-2:]
    ):
        return f"should have the shape {wanted.shape}, yours has {array.shape}"
    whole = wanted.dtype.kind in "iub"
    exact = whole and array.dtype.kind in "iub"
    array, target = array.reshape(wanted.shape).astype(float), wanted.astype(float)
    if (np.isnan(array) & ~np.isnan(target)).any():
        return "there is a NaN (not a number) in it"
    largest = float(np.abs(target[np.isfinite(target)]).max(initial=0))
    relative, absolute = (0.0, 0.0) if exact else (RELATIVE, OF_LARGEST * largest)
    if whole and not exact:
        relative, absolute = OF_WHOLE, 0.0
    close = np.isclose(array, target, rtol=relative, atol=absolute + 1e-9, equal_nan=True)
    if close.all():
        return None
    place = tuple(int(i) for i in np.argwhere(~close)[0]) if wanted.ndim else ()
    yours = f"yours is {array[place]:.10g}" if whole else f"yours is {array[place]:.4g}"
    if not wanted.ndim:
        return yours
    words = {1: "at place {}", 2: "in row {}, column {}"}.get(wanted.ndim, f"at {list(place)}")
    count = int((~close).sum())
    return (
        f"{count} of {close.size} numbers {'is' if count == 1 else 'are'} wrong, the first "
        f"{words.format(*place)} (counted from 0): {yours}"
    )


def _plain(given: Any) -> Any:
    """Tensors as arrays, iterators as lists."""
    if isinstance(given, Iterator):
        given = list(given)
    if hasattr(given, "detach"):
        return given.detach().cpu().double().numpy()
    if isinstance(given, (list, tuple)):
        return type(given)(map(_plain, given)) if type(given) in (list, tuple) else list(given)
    return given


def _numbers(value: Any) -> np.ndarray | None:
    """The array that this is, or `None` if it is no numbers, or rows of different lengths."""
    if isinstance(value, (str, bytes, Mapping, AbstractSet)):
        return None
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O":
            array = array.astype(float)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "fiub" else None


def _run(function: Callable[..., Any], case: Case) -> Outcome:
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _plain(function(*copy.deepcopy(case))), None
    except Exception as error:  # of the learner's code, whatever it is
        return None, error


def _changes(function: Callable[..., Any], cases: Sequence[Case]) -> bool:
    """Whether a function changes what it is given, which the next cells would see."""
    for case in cases:
        kept = copy.deepcopy(case)
        with np.errstate(all="ignore"):
            function(*kept)
        if any(difference(*pair) for pair in zip(kept, case, strict=True)):
            return True
    return False


def _agree(given: list[Outcome], wanted: list[Outcome]) -> bool:
    """Whether one function does what another does, also where it stops."""
    return all(
        type(error) is type(other) and (error is not None or difference(value, right) is None)
        for (value, error), (right, other) in zip(given, wanted, strict=True)
    )


def _described(error: Exception, function: Callable[..., Any]) -> str:
    """An error with the last line of the learner's own that led to it."""
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    if file is None or not lines or lines[-1] is None:
        return text
    code = linecache.getline(file, lines[-1]).strip()
    return f"{text}, in line {lines[-1]}" + (f": {code}" if code else "")


def _call(name: str, case: Case) -> str:
    return f"{name}({', '.join(_short(each, 48) for each in case)})"


def _short(value: Any, width: int = 60) -> str:
    """An object in few letters; of an array that is not small, its shape."""
    if isinstance(value, np.ndarray):
        if value.size > 6:
            return f"array {value.shape}"
        value = (value.round(3) if value.dtype.kind == "f" else value).tolist()
    text = repr(value)
    return text if len(text) <= width else f"{text[: width - 2]} …"
