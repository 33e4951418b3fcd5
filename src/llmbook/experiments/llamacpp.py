"""The book's layers of bytes beside llama.cpp, both writing with SmolLM2 in 8 bits.

Nothing else in the book needs the package `llama-cpp-python`, which compiles llama.cpp where it is
installed.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from llmbook.experiments.speeds import PROMPTS, in_turns
from llmbook.generation import generate
from llmbook.llama import Llama
from llmbook.pretrained import fetch, smollm2
from llmbook.quantization import q8_0, to_int8

NEW: Final = 64
ROUNDS: Final = 9

Write = Callable[[list[int], int], list[int]]


def to_q8_0(source: Path, target: Path) -> None:
    """Write a GGUF file of a Llama again, with all of its matrices in Q8_0.

    Args:
        source: A file whose types of numbers the package `gguf` can read.
        target: Is written; what is not a matrix is in float32 there.

    Source:
        [llama.cpp][ggml2023llamacpp], `gguf-py`.
    """
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    set_here = ("GGUF.", "general.architecture", "general.file_type")
    for field in reader.fields.values():
        if not field.name.startswith(set_here):
            kind, *inner = field.types
            writer.add_key_value(field.name, field.contents(), kind, inner[-1] if inner else None)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    for tensor in reader.tensors:
        numbers = gguf.dequantize(tensor.data, tensor.tensor_type)
        if numbers.ndim == 2:
            coded = np.frombuffer(q8_0(numbers), np.uint8).reshape(len(numbers), -1)
            writer.add_tensor(tensor.name, coded, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(tensor.name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def theirs(path: Path, threads: int) -> Write:
    """llama.cpp with the model of a file: it goes on with a text by its likeliest tokens.

    Args:
        path: A GGUF file.
        threads: For reading the text and for writing.

    Returns:
        A function of a text and a number of tokens, which gives the new ones. It forgets each
        text before the next.

    Raises:
        ModuleNotFoundError: Where the package `llama-cpp-python` is not installed.
    """
    import llama_cpp

    model = llama_cpp.Llama(
        str(path), n_ctx=256, n_threads=threads, n_threads_batch=threads, verbose=False
    )

    def write(text: list[int], new: int) -> list[int]:
        model.reset()
        return list(islice(model.generate(text, temp=0.0), new))

    return write


def ours(model: Llama, text: list[int], new: int) -> list[int]:
    """The book's own generation, likewise.

    Args:
        model: Of `llmbook.quantization.to_int8`, or any other.
        text: To go on with.
        new: How many tokens.
    """
    return list(generate(model, text, new))


def in_common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts have in common before they part.

    Examples:
        >>> in_common([5, 6, 7], [5, 6, 8])
        2
    """
    return len([*takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))])


def run(seed: int) -> dict[str, Any]:
    """What is recorded; nothing in it is drawn.

    Returns:
        For each of the prompts of `speeds` the "seconds" of a processor that "ours" and
        "llama.cpp" took for `NEW` tokens in one thread, the prompt included, and how many first
        tokens each has in "common" with float32; and the package's "version".
    """
    import llama_cpp

    torch.set_num_threads(1)
    model, tokenizer = smollm2()
    found: dict[str, Any] = {"version": llama_cpp.__version__}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "smollm2.gguf"
        to_q8_0(fetch("smollm2"), path)
        rounded, other = to_int8(model), theirs(path, threads=1)
        for name, prompt in PROMPTS.items():
            text = tokenizer.encode(prompt)
            ways: dict[str, Callable[[], list[int]]] = {
                "ours": partial(ours, rounded, text, NEW),
                "llama.cpp": partial(other, text, NEW),
            }
            exact = ours(model, text, NEW)
            found[name] = {
                "common": {way: in_common(exact, write()) for way, write in ways.items()},
                "seconds": in_turns(ways, ROUNDS),
            }
    return found
