"""The model of the page *Explorer*: a small GPT of the State of the Union addresses since 1960."""

import base64
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # to find what is made already takes no torch
    from llmbook.gpt import GPT
    from llmbook.tokenizers import ByteLevelBPE

END: Final = "<|endoftext|>"
SINCE: Final = 1960
VOCAB_SIZE: Final = 512
CONTEXT: Final = 64
STEPS: Final = 1500


_LINKS: Final = (
    ("", "the house that Jack built"),
    ("lay in", "the malt"),
    ("ate", "the rat"),
    ("killed", "the cat"),
    ("worried", "the dog"),
    ("tossed", "the cow with the crumpled horn"),
    ("milked", "the maiden all forlorn"),
    ("kissed", "the man all tattered and torn"),
    ("married", "the priest all shaven and shorn"),
    ("waked", "the cock that crowed in the morn"),
    ("kept", "the farmer sowing his corn"),
)


def rhyme() -> str:
    r"""The nursery rhyme of the house that Jack built: each line holds all before it.

    Examples:
        >>> print("\n".join(rhyme().split("\n")[:3]))
        This is the house that Jack built.
        This is the malt that lay in the house that Jack built.
        This is the rat that ate the malt that lay in the house that Jack built.
    """
    chain, lines = "", []
    for verb, what in _LINKS:
        chain = f"{what} that {verb} {chain}" if verb else what
        lines.append(f"This is {chain}.")
    return "\n".join(lines)


def fit(
    steps: int = STEPS, seed: int = 0, until: int | None = None
) -> "tuple[GPT, ByteLevelBPE, list[float]]":
    """Train it: two blocks of four heads, on pieces of 64 tokens, with Muon for the matrices.

    Args:
        steps: Changes of the weights, of which each reads 8 pieces.
        seed: Of the first weights and of what is read.
        until: Stop after this step.

    Returns:
        The model, its tokenizer, and the loss of each step.
    """
    from functools import partial

    import torch

    from llmbook.datasets import sotu
    from llmbook.gpt import GPT, GPTConfig
    from llmbook.tokenizers import ByteLevelBPE
    from llmbook.training import Recipe, next_token_batch, train

    texts = [address.text for address in sotu(SINCE)]
    tokenizer = ByteLevelBPE.train(texts, VOCAB_SIZE, [END])
    ids = [i for text in texts for i in tokenizer.encode(END + text, allow_special=True)]
    config = GPTConfig(
        vocab_size=VOCAB_SIZE, d_model=96, num_layers=2, num_heads=4, max_len=CONTEXT
    )
    torch.manual_seed(seed)
    model = GPT(config)
    losses = train(
        model,
        partial(next_token_batch, torch.tensor(ids), 8, CONTEXT),
        Recipe(steps=steps, lr=0.01, muon_lr=0.02, warmup=20),
        generator=torch.Generator().manual_seed(seed),
        until=until,
    )
    return model, tokenizer, losses


def made(steps: int = STEPS, seed: int = 0) -> dict[str, Any]:
    """Train it, and pack it as the file that the page loads.

    Args:
        steps: As in `fit`.
        seed: The same.

    Returns:
        "file": what `llmbook.explorer.export` would write, in float16 and base64; "losses": of
        each step.
    """
    import torch

    from llmbook.explorer import packed

    model, tokenizer, losses = fit(steps, seed)
    content = packed(model, tokenizer, begin=END, dtype=torch.float16)
    return {"file": base64.b64encode(content).decode(), "losses": losses}


def content(made: dict[str, Any]) -> bytes:
    """The bytes of the file in what `made` returns."""
    return base64.b64decode(made["file"])
