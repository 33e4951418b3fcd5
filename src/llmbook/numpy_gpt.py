"""A GPT in NumPy alone, forward and backward by hand: small enough to be trained in a page.

Each part gives its result and a function `back`, which takes the gradient by that result, adds
those of the weights to a dictionary, and returns the gradient by what came in. A model is its
weights, by the names of `llmbook.gpt.GPT`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from llmbook.numpy_attention import softmax
from llmbook.tokenizers import ByteLevelBPE, byte_alphabet

Array = np.ndarray
Weights = dict[str, Array]
Back = Callable[[Array], Array]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of a model, which is as GPT-2: norms first, biases, output tied to the embedding.

    Attributes:
        vocab_size: Tokens that it knows.
        d_model: Width of the residual stream.
        num_layers: Blocks on top of each other.
        num_heads: Attention heads in a block.
        max_len: Positions that it knows.

    Raises:
        ValueError: If a size is not positive, or heads do not divide.
    """

    vocab_size: int
    d_model: int = 32
    num_layers: int = 2
    num_heads: int = 4
    max_len: int = 64

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.d_model % self.num_heads:
            raise ValueError(
                "num_heads must divide d_model, "
                f"got num_heads={self.num_heads} and d_model={self.d_model}"
            )


def initial_weights(sizes: Sizes, seed: int) -> Weights:
    """Draw first weights as `llmbook.gpt.GPT` has them: normal, and smaller where they add up.

    Args:
        sizes: Of the model.
        seed: Of the draw.

    Examples:
        >>> weights = initial_weights(Sizes(vocab_size=30), seed=0)
        >>> sum(weight.size for weight in weights.values())
        28480
    """
    rng, d = np.random.default_rng(seed), sizes.d_model
    shapes: dict[str, tuple[int, ...]] = {"embedding": (sizes.vocab_size, d)}
    shapes["positions"] = (sizes.max_len, d)
    for layer in range(sizes.num_layers):
        at = f"blocks.{layer}"
        shapes |= {f"{at}.attention.{part}": (d, d) for part in ("query", "key", "value", "out")}
        shapes |= {f"{at}.norm1": (d,), f"{at}.norm2": (d,)}
        shapes |= {f"{at}.feed_forward.up": (4 * d, d), f"{at}.feed_forward.down": (d, 4 * d)}
    shapes["norm"] = (d,)
    weights: Weights = {}
    for name, shape in shapes.items():
        if "norm" in name:
            weights[f"{name}.weight"] = np.ones(shape)
        else:
            adds_up = name.endswith(("attention.out", "feed_forward.down"))
            std = 0.02 / math.sqrt(2 * sizes.num_layers) if adds_up else 0.02
            weights[f"{name}.weight"] = rng.normal(0.0, std, shape)
        if name not in ("embedding", "positions"):
            weights[f"{name}.bias"] = np.zeros(shape[0])
    return weights


class _Pass:
    """One reading of a text, whose parts know their weights and where their gradients go."""

    def __init__(self, weights: Mapping[str, Array], num_heads: int) -> None:
        self.weights, self.num_heads = weights, num_heads
        self.gradients: Weights = {}
        self.looks: list[Array] = []  # the attention of each layer

    def add(self, name: str, gradient: Array) -> None:
        """Add to the gradient by a weight."""
        self.gradients[name] = self.gradients.get(name, 0.0) + gradient

    def linear(self, x: Array, name: str) -> tuple[Array, Back]:
        """Each row through a matrix, plus a bias."""
        weight = self.weights[f"{name}.weight"]

        def back(dy: Array) -> Array:
            rows, out = (a.reshape(-1, a.shape[-1]) for a in (x, dy))
            self.add(f"{name}.weight", out.T @ rows)
            self.add(f"{name}.bias", out.sum(0))
            dx: Array = dy @ weight
            return dx

        return x @ weight.T + self.weights[f"{name}.bias"], back

    def norm(self, x: Array, name: str) -> tuple[Array, Back]:
        """Each row to mean 0 and variance 1, then scaled and shifted."""
        weight = self.weights[f"{name}.weight"]
        centred = x - x.mean(-1, keepdims=True)
        scale = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        unit = centred * scale

        def back(dy: Array) -> Array:
            axes = tuple(range(dy.ndim - 1))
            self.add(f"{name}.weight", (dy * unit).sum(axes))
            self.add(f"{name}.bias", dy.sum(axes))
            d = dy * weight
            along = (d * unit).mean(-1, keepdims=True) * unit
            dx: Array = (d - d.mean(-1, keepdims=True) - along) * scale
            return dx

        return unit * weight + self.weights[f"{name}.bias"], back

    def gelu(self, x: Array) -> tuple[Array, Back]:
        """GPT's approximation of the GELU."""
        c = math.sqrt(2 / math.pi)
        square = x * x
        t = np.tanh(c * x * (1 + 0.044715 * square))

        def back(dy: Array) -> Array:
            inner = c * (1 + 3 * 0.044715 * square)
            dx: Array = dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner)
            return dx

        return 0.5 * x * (1 + t), back

    def split(self, x: Array) -> Array:
        """Cut vectors into heads: (batch, seq, d) to (batch, heads, seq, d / heads)."""
        return x.reshape(*x.shape[:2], self.num_heads, -1).transpose(0, 2, 1, 3)

    def join(self, x: Array) -> Array:
        """Heads side by side again."""
        x = x.transpose(0, 2, 1, 3)
        return x.reshape(*x.shape[:2], -1)

    def attention(self, x: Array, name: str) -> tuple[Array, Back]:
        """Each position takes an average of the values before it, in several heads."""
        parts = [self.linear(x, f"{name}.{part}") for part in ("query", "key", "value")]
        query, key, value = (self.split(y) for y, _ in parts)
        root, seq = math.sqrt(query.shape[-1]), x.shape[1]
        scores = query @ key.swapaxes(-1, -2) / root
        weights = softmax(np.where(np.tri(seq, dtype=bool), scores, -np.inf))
        self.looks.append(weights)
        out, back_out = self.linear(self.join(weights @ value), f"{name}.out")

        def back(dy: Array) -> Array:
            mixed = self.split(back_out(dy))
            by_weights = mixed @ value.swapaxes(-1, -2)
            kept = (by_weights * weights).sum(-1, keepdims=True)
            by_scores = weights * (by_weights - kept) / root
            by_query, by_key = by_scores @ key, by_scores.swapaxes(-1, -2) @ query
            by_value = weights.swapaxes(-1, -2) @ mixed
            each = zip(parts, (by_query, by_key, by_value), strict=True)
            dx: Array = np.sum([back_part(self.join(dh)) for (_, back_part), dh in each], axis=0)
            return dx

        return out, back

    def block(self, x: Array, name: str) -> tuple[Array, Back]:
        """Attention, then a feed-forward network, each added to what came in."""
        n1, back_n1 = self.norm(x, f"{name}.norm1")
        a, back_a = self.attention(n1, f"{name}.attention")
        h = x + a
        n2, back_n2 = self.norm(h, f"{name}.norm2")
        up, back_up = self.linear(n2, f"{name}.feed_forward.up")
        g, back_g = self.gelu(up)
        down, back_down = self.linear(g, f"{name}.feed_forward.down")

        def back(dy: Array) -> Array:
            dh = dy + back_n2(back_up(back_g(back_down(dy))))
            return dh + back_n1(back_a(dh))

        return h + down, back

    def logits(self, token_ids: Array) -> tuple[Array, Callable[[Array], None]]:
        """Tokens and their positions, through the blocks, to logits for the token after each."""
        table, seq = self.weights["embedding.weight"], token_ids.shape[1]
        x = table[token_ids] + self.weights["positions.weight"][:seq]
        layers = sum(name.endswith("norm1.weight") for name in self.weights)
        backs = []
        for layer in range(layers):
            x, back_block = self.block(x, f"blocks.{layer}")
            backs.append(back_block)
        hidden, back_norm = self.norm(x, "norm")

        def back(dz: Array) -> None:
            rows, out = (a.reshape(-1, a.shape[-1]) for a in (hidden, dz))
            by_table = out.T @ rows  # as the output layer; as the embedding, below
            dx = back_norm(dz @ table)
            for back_block in reversed(backs):
                dx = back_block(dx)
            np.add.at(by_table, token_ids, dx)
            self.add("embedding.weight", by_table)
            by_place = np.zeros_like(self.weights["positions.weight"])
            by_place[:seq] = dx.sum(0)
            self.add("positions.weight", by_place)

        return hidden @ table.T, back


def logits(
    weights: Mapping[str, Array], token_ids: Int[np.ndarray, "batch seq"], num_heads: int
) -> tuple[Float[np.ndarray, "batch seq vocab"], Float[np.ndarray, "layers batch heads seq seq"]]:
    """Logits for the token after each, and whom each looked at.

    Args:
        weights: As `initial_weights` makes them.
        token_ids: Texts side by side.
        num_heads: Heads of a block.

    Raises:
        ValueError: If there is no token, or a text is longer than the model's positions.

    Examples:
        >>> weights = initial_weights(Sizes(vocab_size=9), seed=0)
        >>> z, looks = logits(weights, np.array([[1, 2, 3]]), num_heads=4)
        >>> z.shape, looks.shape
        ((1, 3, 9), (2, 1, 4, 3, 3))
    """
    _check_tokens(weights, token_ids)
    read = _Pass(weights, num_heads)
    return read.logits(token_ids)[0], np.stack(read.looks)


def loss_and_gradients(
    weights: Mapping[str, Array], token_ids: Int[np.ndarray, "batch seq"], num_heads: int
) -> tuple[float, Weights]:
    r"""Mean cross-entropy, in nats, of each token but the first, and its gradient by every weight.

    The gradient by a logit is what the model gave, less what came:
    $\partial L / \partial z_i = (p_i - [i = \text{next}]) / n$.

    Args:
        weights: As `initial_weights` makes them.
        token_ids: Texts side by side, with one token more than is read.
        num_heads: Heads of a block.

    Returns:
        The loss, and gradients by the names of the weights.

    Raises:
        ValueError: As `logits`, or if a text has no second token.

    Examples:
        >>> weights = initial_weights(Sizes(vocab_size=9), seed=0)
        >>> loss, gradients = loss_and_gradients(weights, np.array([[1, 2, 3]]), num_heads=4)
        >>> round(loss, 1), gradients.keys() == weights.keys()
        (2.3, True)

    Source:
        [Goodfellow et al. 2016][goodfellow2016deep], section 6.5.
    """
    inputs, nexts = token_ids[:, :-1], token_ids[:, 1:]
    _check_tokens(weights, inputs)
    read = _Pass(weights, num_heads)
    z, back = read.logits(inputs)
    p = softmax(z)
    rows = p.reshape(-1, p.shape[-1])
    at = np.arange(len(rows)), nexts.reshape(-1)
    loss = -float(np.log(rows[at]).mean())
    rows[at] -= 1
    back(p / nexts.size)
    return loss, read.gradients


def _check_tokens(weights: Mapping[str, Array], token_ids: Array) -> None:
    max_len, vocab_size = len(weights["positions.weight"]), len(weights["embedding.weight"])
    if token_ids.ndim != 2 or not token_ids.size or token_ids.shape[1] > max_len:
        raise ValueError(
            f"token_ids must have the shape (batch, 1 to {max_len}), got {token_ids.shape}"
        )
    if not 0 <= token_ids.min() <= token_ids.max() < vocab_size:
        raise ValueError(f"token_ids must be from 0 to {vocab_size - 1}")


class AdamW:
    r"""Adam with decay apart from the gradient.

    $$m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2,
      \quad w \leftarrow (1 - \eta\lambda) w
      - \eta\,\frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \varepsilon}$$

    Args:
        weights: What is changed, in place.
        betas: How long a gradient and its square are remembered.
        eps: $\varepsilon$.
        weight_decay: $\lambda$, for the names of weights that decay; others do not.

    Examples:
        >>> weights = {"w": np.array([1.0, -1.0])}
        >>> AdamW(weights).step({"w": np.array([5.0, -0.1])}, lr=0.1)
        >>> weights["w"].round(6)
        array([ 0.9, -0.9])

    Source:
        [Loshchilov and Hutter 2019][loshchilov2019decoupled], algorithm 2.
    """

    def __init__(
        self,
        weights: Weights,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: Mapping[str, float] | None = None,
    ) -> None:
        self.weights, self.betas, self.eps = weights, betas, eps
        self.weight_decay = weight_decay or {}
        self.means = {name: np.zeros_like(weight) for name, weight in weights.items()}
        self.squares = {name: np.zeros_like(weight) for name, weight in weights.items()}
        self.steps = 0

    def step(self, gradients: Mapping[str, Array], lr: float) -> None:
        """Change the weights once.

        Args:
            gradients: By name, one for each weight.
            lr: The learning rate.
        """
        self.steps += 1
        first, second = self.betas
        unbiased = 1 - first**self.steps, 1 - second**self.steps
        for name, weight in self.weights.items():
            mean, square, gradient = self.means[name], self.squares[name], gradients[name]
            mean += (1 - first) * (gradient - mean)
            square += (1 - second) * (gradient**2 - square)
            weight *= 1 - lr * self.weight_decay.get(name, 0.0)
            weight -= lr / unbiased[0] * mean / (np.sqrt(square / unbiased[1]) + self.eps)


def byte_tokenizer(text: str) -> ByteLevelBPE:
    """A tokenizer that has a token for each byte of a text, no merges, and drops other bytes.

    Raises:
        ValueError: If the text is empty.

    Examples:
        >>> byte_tokenizer("banana").encode("a bad ban")
        [0, 1, 0, 1, 0, 2]
    """
    if not text:
        raise ValueError("text must hold at least one character")
    tokens = sorted({byte_alphabet()[byte] for byte in text.encode()})
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return ByteLevelBPE(vocabulary, [], drop_unknown_bytes=True)


class Trainer:
    """A small GPT that learns a text, some steps at a time.

    The recipe is `llmbook.training.train`'s without decay of the rate, so that there is no end: a
    warm-up, clipped gradients, AdamW. The same text and seed give the same losses.

    Args:
        text: What to learn.
        seed: Of the first weights and of what is read.
        sizes: Of the model, where they shall be others than those of `Sizes`; its vocabulary is
            the text's, and it knows as many positions as a piece has.
        batch: Pieces of the text in a step.
        seq: Tokens to be predicted in each.
        lr: The highest rate.
        warmup: Steps in which it rises.

    Attributes:
        tokenizer: Has the text's bytes as tokens.
        weights: The model.
        losses: Of each step so far.

    Raises:
        ValueError: If the text is shorter than a piece.

    Examples:
        >>> trainer = Trainer("ab" * 40, seed=0)
        >>> losses = trainer.run(3)
        >>> len(losses), losses[-1] < losses[0], len(trainer.write("ab", 5))
        (3, True, 5)
    """

    def __init__(
        self,
        text: str,
        *,
        seed: int = 0,
        sizes: Mapping[str, int] | None = None,
        batch: int = 8,
        seq: int = 48,
        lr: float = 0.01,
        warmup: int = 20,
    ) -> None:
        self.tokenizer = byte_tokenizer(text)
        self.token_ids = np.array(self.tokenizer.encode(text), dtype=np.int64)
        if len(self.token_ids) <= seq:
            raise ValueError(
                f"text must have more than {seq} bytes, which a piece has, got "
                f"{len(self.token_ids)}: take a longer text"
            )
        given = {"vocab_size": self.tokenizer.vocab_size, "max_len": seq, **(sizes or {})}
        self.sizes = Sizes(**given)
        self.batch, self.seq, self.lr, self.warmup = batch, seq, lr, warmup
        self.rng = np.random.default_rng(seed)
        self.weights = initial_weights(self.sizes, seed)
        matrices = [name for name, w in self.weights.items() if "blocks" in name and w.ndim == 2]
        self.optimizer = AdamW(self.weights, weight_decay=dict.fromkeys(matrices, 0.1))
        self.losses: list[float] = []

    def draw(self) -> Int[np.ndarray, "batch seq"]:
        """Cut the pieces of the next step out of the text."""
        starts = self.rng.integers(len(self.token_ids) - self.seq, size=(self.batch, 1))
        pieces: Array = self.token_ids[starts + np.arange(self.seq + 1)]
        return pieces

    def run(self, steps: int) -> list[float]:
        """Change the weights some times; give the losses."""
        for _ in range(steps):
            loss, gradients = loss_and_gradients(self.weights, self.draw(), self.sizes.num_heads)
            length = math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
            scale = min(1.0, 1 / (length + 1e-6))
            done = len(self.losses) + 1
            rate = self.lr * min(1.0, done / self.warmup)
            self.optimizer.step({name: scale * g for name, g in gradients.items()}, rate)
            self.losses.append(loss)
        return self.losses[len(self.losses) - steps :]

    def looks(self, text: str) -> Float[np.ndarray, "layers heads seq seq"]:
        """Whom each token of a text looks at, in every head; of a long text its beginning."""
        ids = np.array([self.tokenizer.encode(text)[: self.sizes.max_len]], dtype=np.int64)
        return logits(self.weights, ids, self.sizes.num_heads)[1][:, 0]

    def write(self, prompt: str, count: int, temperature: float = 0.5, seed: int = 0) -> str:
        """Continue a text, with a window that slides.

        Args:
            prompt: At least one byte of the text that was learned.
            count: How many tokens.
            temperature: Above 0.
            seed: Of what is drawn.
        """
        rng, ids = np.random.default_rng(seed), self.tokenizer.encode(prompt)
        start = len(ids)
        for _ in range(count):
            read = np.array([ids[-self.sizes.max_len :]], dtype=np.int64)
            last = logits(self.weights, read, self.sizes.num_heads)[0][0, -1]
            sums = softmax(last / temperature).cumsum()
            ids.append(min(int(np.searchsorted(sums, rng.random())), len(sums) - 1))
        return self.tokenizer.decode(ids[start:])

    def config(self) -> dict[str, Any]:
        """The model's `llmbook.gpt.GPTConfig`, as a dictionary."""
        sizes = asdict(self.sizes)
        same = {"activation": "gelu_tanh", "norm_first": True, "norm_eps": 1e-5, "bias": True}
        return {**sizes, "d_ff": 4 * self.sizes.d_model, **same, "tied": True, "dropout": 0.0}

    def file(self) -> bytes:
        """The model as a file that the explorer opens, in float16."""
        from llmbook.explorer import serialized

        half = {name: weight.astype("<f2") for name, weight in self.weights.items()}
        return serialized(half, self.config(), self.tokenizer)
