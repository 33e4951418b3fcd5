"""A small GPT as one file, which the book's explorer opens in a page, and every safetensors reader.

The file is a [safetensors](https://github.com/huggingface/safetensors) file: the length of a
header in 8 bytes, the header in JSON, then the weights, little-endian, in the order of the header.
What is no weight stands in the header's `__metadata__`, as texts: `format`, `config` (the sizes of
the `GPTConfig`) and `tokenizer` (how a text becomes token ids), the last two in JSON.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmbook.generation import keep_top_p
from llmbook.gpt import GPT, GPTConfig
from llmbook.tokenizers import ByteLevelBPE, word_pattern
from llmbook.training import evaluating

FORMAT = "llmbook.explorer 1"
MOST = 50_000_000  # bytes of a file that a page opens
_DTYPES = {"F16": torch.float16, "F32": torch.float32}
_NONE = "the file is none that llmbook.explorer.export has written"


def export(
    model: GPT,
    tokenizer: ByteLevelBPE,
    path: Path | str,
    *,
    begin: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> int:
    """Write a model and its tokenizer as a file that the page *Explorer* opens.

    Args:
        model: A `GPT` of any config: norms first or last, with or without biases, output tied to
            the embedding or not. Other models have other parts, which the page does not know.
        tokenizer: What it was trained with.
        path: Where to write, such as `mine.safetensors`.
        begin: The special token that stood before each text in training, if one did; the page puts
            it before what is typed.
        dtype: `torch.float16` makes half the file; the weights are rounded to it.

    Returns:
        The bytes of the file.

    Raises:
        TypeError: If the model is no `GPT`, or the tokenizer no `ByteLevelBPE`.
        ValueError: If a token's id is outside of the model's vocabulary, `begin` is no special
            token, `dtype` is another, a weight is not finite in it, or the file would be too large
            for a page.
        OSError: If it cannot be written.

    Examples:
        >>> tokenizer = ByteLevelBPE.train(["low lower lowest"], vocab_size=260)
        >>> model = GPT(GPTConfig(vocab_size=260, d_model=8, num_layers=1, num_heads=2, max_len=16))
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     size = export(model, tokenizer, f"{folder}/mine.safetensors")
        ...     again, _, _ = load(f"{folder}/mine.safetensors")
        >>> torch.equal(again(torch.tensor([[1, 2, 3]])), model(torch.tensor([[1, 2, 3]])))
        True
    """
    content = packed(model, tokenizer, begin=begin, dtype=dtype)
    return Path(path).write_bytes(content)


def packed(
    model: GPT,
    tokenizer: ByteLevelBPE,
    *,
    begin: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> bytes:
    """What `export` writes; arguments and errors are its own."""
    _check(model, tokenizer, begin, dtype)
    weights = {
        name: weight.detach().cpu().to(dtype).numpy().astype(f"<f{dtype.itemsize}")
        for name, weight in model.state_dict().items()
    }
    return serialized(weights, asdict(model.config), tokenizer, begin)


def serialized(
    weights: Mapping[str, Float[np.ndarray, "..."]],
    config: Mapping[str, Any],
    tokenizer: ByteLevelBPE,
    begin: str | None = None,
) -> bytes:
    """Write weights, sizes and tokenizer as a file; it takes no PyTorch.

    Args:
        weights: By the names of `GPT`, little-endian, in float16 or float32.
        config: The attributes of a `GPTConfig`.
        tokenizer: As in `export`.
        begin: The same.

    Raises:
        ValueError: If a weight is not finite, or the file would be too large for a page.
    """
    header: dict[str, Any] = {"__metadata__": _metadata(config, tokenizer, begin)}
    end = 0
    for name, weight in weights.items():
        if not np.isfinite(weight).all():
            raise ValueError(f"{name} is not finite in {weight.dtype.name}")
        start, end = end, end + weight.nbytes
        dtype, shape = f"F{8 * weight.itemsize}", list(weight.shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the weights are aligned
    if len(text) + end > MOST:
        raise ValueError(
            f"the file would have {(len(text) + end) / 1e6:.0f} MB, and a page opens "
            f"{MOST / 1e6:.0f}: take a smaller model, or dtype=torch.float16"
        )
    content = [weight.tobytes() for weight in weights.values()]
    return len(text).to_bytes(8, "little") + text + b"".join(content)


def _check(model: GPT, tokenizer: ByteLevelBPE, begin: str | None, dtype: torch.dtype) -> None:
    if not isinstance(model, GPT):
        raise TypeError(
            f"need a llmbook.gpt.GPT, got {type(model).__name__}: no page has its parts"
        )
    if not isinstance(tokenizer, ByteLevelBPE):
        raise TypeError(
            f"need a llmbook.tokenizers.ByteLevelBPE, got {type(tokenizer).__name__}: train one by "
            "ByteLevelBPE.train, if need be with no more tokens than the 256 bytes"
        )
    ids = [*tokenizer.vocabulary.values(), *tokenizer.special_tokens.values()]
    if max(ids) >= model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has the id {max(ids)}, and the model vocab_size="
            f"{model.config.vocab_size}: they do not belong together"
        )
    if begin is not None and begin not in tokenizer.special_tokens:
        known = ", ".join(tokenizer.special_tokens) or "of which there is none"
        raise ValueError(f"begin must be a special token ({known}), got {begin!r}")
    if dtype not in _DTYPES.values():
        raise ValueError(f"dtype must be torch.float16 or torch.float32, got {dtype}")


def _metadata(
    config: Mapping[str, Any], tokenizer: ByteLevelBPE, begin: str | None
) -> dict[str, str]:
    """What is no weight, as safetensors wants it: texts by name."""
    text = {
        "pattern": word_pattern(individual_digits=tokenizer.individual_digits).pattern,
        "individual_digits": tokenizer.individual_digits,
        "drop_unknown_bytes": tokenizer.drop_unknown_bytes,
        "vocabulary": tokenizer.vocabulary,
        "merges": tokenizer.merges,
        "special_tokens": tokenizer.special_tokens,
        "begin": begin,
    }
    made = {"config": dict(config), "tokenizer": text}
    return {"format": FORMAT, **{name: json.dumps(it) for name, it in made.items()}}


def load(path: Path | str) -> tuple[GPT, ByteLevelBPE, str | None]:
    """Read what `export` has written.

    Args:
        path: The file.

    Returns:
        The model, in float32 and evaluation mode, its tokenizer, and the token to begin with.

    Raises:
        ValueError: If the file is none of `export`'s, or not whole.
        OSError: If it cannot be read.
    """
    return unpacked(Path(path).read_bytes())


def unpacked(content: bytes) -> tuple[GPT, ByteLevelBPE, str | None]:
    """What `load` reads from a file's content; returns and errors are its own."""
    size, strange = int.from_bytes(content[:8], "little"), ValueError(_NONE)
    try:
        header = json.loads(content[8 : 8 + size]) if 8 + size <= len(content) else {}
        made = header.pop("__metadata__")
        if made["format"] != FORMAT:
            raise strange
        config, text = json.loads(made["config"]), json.loads(made["tokenizer"])
        end = max(entry["data_offsets"][1] for entry in header.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise strange from None
    weights = memoryview(content)[8 + size :]
    if end != len(weights):
        raise ValueError("the file is not whole: its weights end elsewhere than its header says")
    try:
        return _built(config, header, weights), _tokenizer(text), text["begin"]
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{_NONE}: {error}") from None


def _built(config: dict[str, Any], header: dict[str, Any], content: memoryview) -> GPT:
    weights = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        flat = torch.frombuffer(bytearray(content[start:end]), dtype=_DTYPES[entry["dtype"]])
        weights[name] = flat.reshape(entry["shape"]).float()
    model = GPT(GPTConfig(**config))
    model.load_state_dict(weights)
    return model.eval()


def _tokenizer(text: dict[str, Any]) -> ByteLevelBPE:
    return ByteLevelBPE(
        text["vocabulary"],
        [(left, right) for left, right in text["merges"]],
        text["special_tokens"],
        individual_digits=text["individual_digits"],
        drop_unknown_bytes=text["drop_unknown_bytes"],
    )


def window(
    text: str, tokenizer: ByteLevelBPE, begin: str | None, max_len: int
) -> Int[Tensor, " seq"]:
    """The token ids that the page reads of a text: of a long one the last, and no `begin`.

    Args:
        text: What somebody typed; spelled special tokens are text like any other.
        tokenizer: The model's.
        begin: The special token before the text.
        max_len: Positions that the model knows.

    Raises:
        ValueError: If there is nothing to read: no text and no `begin`.

    Examples:
        >>> tokenizer = ByteLevelBPE.train([], 257, ["<end>"])
        >>> window("abc", tokenizer, "<end>", 4), window("abcd", tokenizer, "<end>", 4)
        (tensor([ 0, 65, 66, 67]), tensor([65, 66, 67, 68]))
    """
    first = [] if begin is None else [tokenizer.special_tokens[begin]]
    ids = (first + tokenizer.encode(text))[-max_len:]
    if not ids:
        raise ValueError("text must hold at least one character: no token stands before it")
    return torch.tensor(ids)


def heads(
    model: GPT, token_ids: Int[Tensor, " seq"]
) -> tuple[
    Float[Tensor, "layers heads seq seq"],
    Float[Tensor, "layers heads seq seq"],
    Float[Tensor, "layers heads seq d_head"],
]:
    r"""What happens in each head while a model reads a text.

    Args:
        model: Reads in evaluation mode, without gradients.
        token_ids: One text.

    Returns:
        For each layer and head: the scores $q \cdot k / \sqrt{d}$ of all pairs, before the mask;
        the weights, after mask and softmax; and the values, mixed by them.

    Examples:
        >>> model = GPT(GPTConfig(vocab_size=9, d_model=8, num_layers=2, num_heads=4, max_len=6))
        >>> scores, weights, mixed = heads(model, torch.tensor([1, 2, 3]))
        >>> scores.shape, weights[0, 0, 0], mixed.shape
        (torch.Size([2, 4, 3, 3]), tensor([1., 0., 0.]), torch.Size([2, 4, 3, 2]))
    """
    found: list[tuple[Tensor, Tensor, Tensor]] = []

    def look(attention: Any, inputs: tuple[Any, ...], options: dict[str, Any], _: Any) -> None:
        query, key, value = attention.project(inputs[0])
        scores = query @ key.mT / math.sqrt(attention.d_head)
        _, weights = attention.with_weights(inputs[0], causal=True)
        found.append((scores[0], weights[0], (weights @ value)[0]))

    handles = [
        block.attention.register_forward_hook(look, with_kwargs=True)  # type: ignore[union-attr]
        for block in model.blocks
    ]
    try:
        with torch.no_grad(), evaluating(model):
            model.hidden_states(token_ids[None])
    finally:
        for handle in handles:
            handle.remove()
    scores, weights, mixed = (torch.stack(part) for part in zip(*found, strict=True))
    return scores, weights, mixed


def next_probabilities(
    logits: Float[Tensor, " vocab"], temperature: float | int = 1.0, top_p: float | int = 1.0
) -> Float[Tensor, " vocab"]:
    r"""The probabilities by which `llmbook.generation.generate` draws the next token.

    Args:
        logits: Of the next token.
        temperature: $\tau$, by which the logits are divided; at 0 the likeliest has all.
        top_p: How much probability the nucleus has, from which is drawn.

    Raises:
        ValueError: If a number is out of its range.

    Examples:
        >>> logits = torch.tensor([0.6, 0.1, 0.3]).log()
        >>> next_probabilities(logits, top_p=0.7)
        tensor([0.6667, 0.0000, 0.3333])
        >>> next_probabilities(logits, temperature=0)
        tensor([1., 0., 0.])
    """
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature must be finite and not negative, got {temperature}")
    if temperature == 0:
        return torch.zeros_like(logits).index_fill(0, logits.argmax(), 1.0)
    scaled = ((logits.double() - logits.max()) / temperature).to(logits.dtype)
    return keep_top_p(scaled, top_p).softmax(dim=-1)
