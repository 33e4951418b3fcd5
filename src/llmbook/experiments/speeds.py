"""How long it takes: attention by its pattern, and SmolLM2's tokens by bits and by drafts.

Seconds of a processor, in one thread, on whatever machine makes the record; ratios mean more.
"""

import copy
import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
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


def in_turns(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of a processor that each of some runs took in each of some rounds.

    In a round each has its turn, so what else the machine does meets all of them alike.

    Args:
        runs: What is timed, by name. Each runs once before, to warm up.
        rounds: How many.

    Returns:
        For each name its seconds, round by round.

    Raises:
        ValueError: If there is no round.

    Examples:
        >>> found = in_turns({"few": lambda: sum(range(9)), "many": lambda: sum(range(999))}, 3)
        >>> {name: len(seconds) for name, seconds in found.items()}
        {'few': 3, 'many': 3}
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            taken[name].append(time.process_time() - start)
    return taken


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


def weights_read(model: Llama) -> int:
    """Bytes of the weights that a pass for one token reads: all that it has, once.

    An embedding beside an output layer of its own does not count: a row of it is looked up.

    Args:
        model: A model, also one with layers of `llmbook.quantization`.

    Examples:
        >>> from llmbook.llama import LlamaConfig
        >>> config = LlamaConfig(
        ...     vocab_size=50, d_model=16, num_layers=1, num_heads=4, num_kv_heads=2, d_ff=40,
        ...     max_len=32,
        ... )
        >>> model = Llama(config)
        >>> weights_read(model) == 4 * sum(p.numel() for p in model.parameters())
        True
    """
    looked_up = None if model.head is None else model.embedding.weight
    return sum(t.nbytes for t in (*model.parameters(), *model.buffers()) if t is not looked_up)


def by_bits() -> dict[str, Llama]:
    """SmolLM2 with its numbers in 32 bits, in 16, and with its matrices as bytes."""
    model, _ = smollm2()
    return {
        "float32": model,
        "bfloat16": copy.deepcopy(model).to(torch.bfloat16),
        "int8": to_int8(model),
    }


def of_generation(models: Mapping[str, Llama], rounds: int = 7) -> dict[str, Any]:
    """Seconds of SmolLM2 for so many tokens, in turns: by bits, and with drafts.

    Args:
        models: By name, as `by_bits` gives them.
        rounds: In each of which each model has its turn; drafts have three of their own.
    """
    tokenizer = smollm2()[1]
    found: dict[str, Any] = {}
    for name, prompt in PROMPTS.items():
        text = tokenizer.encode(prompt)
        alone = {way: partial(_write, model, text) for way, model in models.items()}
        taken = in_turns(alone, rounds)
        found[name] = {way: median(seconds) for way, seconds in taken.items()}
        found[name]["rounds"] = taken
        drafts = {draft: partial(drafted, name, draft) for draft in ("text", "24", "10")}
        for draft, seconds in in_turns(drafts, 3).items():
            found[name][draft] = {"seconds": median(seconds), **vars(drafted(name, draft))}
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
    models = by_bits()
    return {
        "attention": of_attention(),
        "passes": of_passes(),
        "generation": of_generation(models),
        "read": {name: weights_read(model) for name, model in models.items()},
    }
