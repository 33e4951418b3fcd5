"""How long it takes: attention by its pattern, and SmolLM2's tokens by bits and by drafts.

Seconds of a processor, in one thread, on whatever machine makes the record; ratios mean more.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from llmbook.generation import generate
from llmbook.llama import Llama
from llmbook.pretrained import smollm2
from llmbook.quantization import to_int8
from llmbook.sparse import local_attention, local_mask, strided_attention
from llmbook.speculative import Counts, ModelDraft, NgramDraft, first_layers, speculate

LENGTHS: Final = (256, 512, 1024, 2048, 4096)
WINDOW: Final = 64
NEW: Final = 40
PROMPTS: Final = {
    "a list": "red, green, blue, white, red, green, blue, white, red, green, blue,",
    "a story": "Once upon a time there was a small girl who",
}


def timed(run: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of a processor that each of some runs took, after one to warm up.

    Args:
        run: What is timed.
        repeats: How often.

    Returns:
        The seconds from the least to the most.

    Raises:
        ValueError: If it shall not be timed at all.

    Examples:
        >>> len(timed(lambda: sum(range(1000)), 3))
        3
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    run()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return sorted(taken)


def median_seconds(run: Callable[[], object], repeats: int = 9) -> float:
    """The median of what `timed` gives; the arguments are its own."""
    return timed(run, repeats)[repeats // 2]


@torch.no_grad()
def of_attention(lengths: tuple[int, ...] = LENGTHS) -> dict[str, dict[str, float]]:
    """Milliseconds of four heads 32 wide; the stride is the root of the length.

    Args:
        lengths: Of the text.
    """
    found: dict[str, dict[str, float]] = {}
    for seq in lengths:
        x = torch.randn(1, 4, seq, 32, generator=torch.Generator().manual_seed(seq))
        mask, stride = local_mask(seq, WINDOW), round(seq**0.5)
        three = (x, x, x)
        kinds: dict[str, Callable[[], Tensor]] = {
            "full": partial(F.scaled_dot_product_attention, *three, is_causal=True),
            "window as a mask": partial(F.scaled_dot_product_attention, *three, mask),
            "window by blocks": partial(local_attention, *three, WINDOW),
            "stride by blocks": partial(strided_attention, *three, stride),
        }
        for name, attend in kinds.items():
            found.setdefault(name, {})[str(seq)] = 1e3 * median_seconds(attend)
    return found


def drafted(prompt: str, draft: str, new: int = NEW) -> Counts:
    """Let SmolLM2 write with a draft, and count.

    Args:
        prompt: One of `PROMPTS`.
        draft: "text" for its own text, or how many of its layers guess.
        new: Tokens.
    """
    model, tokenizer = smollm2()
    guesser = NgramDraft() if draft == "text" else ModelDraft(first_layers(model, int(draft)))
    counts = Counts()
    text = tokenizer.encode(PROMPTS[prompt])
    for _ in speculate(model, guesser, text, new, counts=counts):
        pass
    return counts


def of_generation() -> dict[str, Any]:
    """Seconds of SmolLM2 for so many tokens: in float32, in 8 bits, and with drafts."""
    model, tokenizer = smollm2()
    rounded = to_int8(model)
    found: dict[str, Any] = {}
    for name, prompt in PROMPTS.items():
        text = tokenizer.encode(prompt)
        found[name] = {
            "float32": median_seconds(partial(_write, model, text), 5),
            "int8": median_seconds(partial(_write, rounded, text), 5),
        }
        for draft in ("text", "24", "10"):
            seconds = median_seconds(partial(drafted, name, draft), 3)
            found[name][draft] = {"seconds": seconds, **vars(drafted(name, draft))}
    return found


@torch.inference_mode()
def of_passes(counts: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
    """Seconds of one pass of SmolLM2 that reads so many tokens after a hundred others.

    Args:
        counts: How many tokens.
    """
    model, _ = smollm2()
    before = torch.arange(100)[None]
    cache = model.new_cache(100 + max(counts))
    model.hidden_states(before, cache=cache)

    def read(count: int) -> Tensor:
        cache.length = 100
        return model.unembed(model.hidden_states(before[:, :count], cache=cache))

    return {str(count): median_seconds(partial(read, count), 15) for count in counts}


def _write(model: Llama, text: list[int]) -> list[int]:
    return list(generate(model, text, NEW))


def run(seed: int) -> dict[str, Any]:
    """What is recorded; nothing in it is drawn."""
    torch.set_num_threads(1)
    return {
        "attention": of_attention(),
        "passes": of_passes(),
        "generation": of_generation(),
    }
