"""Positional encoding: what tells attention, which sees a set, where each vector stands."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.layers import check_sequence
from llmbook.sizes import whole

Rotary = tuple[Float[Tensor, "query d_head"], Float[Tensor, "query d_head"]]


def _frequencies(d_model: int) -> Float[np.ndarray, " half"]:
    _check_even(d_model=d_model)
    return 10_000.0 ** (-np.arange(0, d_model, 2) / d_model)


def sinusoidal(seq: int, d_model: int) -> Float[np.ndarray, "seq d_model"]:
    r"""The fixed encoding of the original Transformer: a clock with `d_model / 2` hands.

    $$\mathrm{PE}(p, 2i) = \sin(p\,\omega_i), \qquad \mathrm{PE}(p, 2i+1) = \cos(p\,\omega_i),
      \qquad \omega_i = 10000^{-2i/d_{\mathrm{model}}}$$

    Args:
        seq: Number of positions $p = 0, 1, \dots$
        d_model: Width of the vectors to which the encoding is added; even.

    Returns:
        One row per position, each of length $\sqrt{d_{\mathrm{model}} / 2}$.

    Raises:
        ValueError: If `d_model` is not even and positive, or `seq` is negative.

    Examples:
        >>> sinusoidal(2, 4).round(3)
        array([[0.   , 1.   , 0.   , 1.   ],
               [0.841, 0.54 , 0.01 , 1.   ]])

    Source:
        [Vaswani et al. 2017][vaswani2017attention], section 3.5.
    """
    seq, d_model = whole("seq", seq), whole("d_model", d_model)
    if seq < 0:
        raise ValueError(f"seq must not be negative, got {seq}")
    angles = np.arange(seq)[:, None] * _frequencies(d_model)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(seq, d_model)


def shift_matrix(steps: int, d_model: int) -> Float[np.ndarray, "d_model d_model"]:
    r"""The one matrix that moves every sinusoidal encoding by the same number of positions.

    It turns each pair $(\sin p\omega_i, \cos p\omega_i)$ by the angle $k\omega_i$, whatever $p$
    is, so that $\mathrm{PE}(p + k) = M_k\,\mathrm{PE}(p)$.

    Args:
        steps: The number of positions $k$; may be negative.
        d_model: Width of the encoding; even.

    Returns:
        The matrix $M_k$, block-diagonal and orthogonal.

    Raises:
        ValueError: If `d_model` is not even and positive.

    Examples:
        >>> rows = sinusoidal(10, 8)
        >>> bool(np.allclose(shift_matrix(3, 8) @ rows[4], rows[7]))
        True

    Source:
        [Vaswani et al. 2017][vaswani2017attention], section 3.5.
    """
    d_model = whole("d_model", d_model)
    angles = whole("steps", steps) * _frequencies(d_model)
    matrix = np.zeros((d_model, d_model))
    even = np.arange(0, d_model, 2)
    matrix[even, even] = matrix[even + 1, even + 1] = np.cos(angles)
    matrix[even, even + 1], matrix[even + 1, even] = np.sin(angles), -np.sin(angles)
    return matrix


def rotary_tables(
    positions: Int[Tensor, " query"],
    d_head: int,
    base: float | int = 10_000,
    dtype: torch.dtype = torch.float32,
    *,
    layout: str = "halves",
) -> Rotary:
    r"""Cosine and sine of the angle by which each pair of a head turns at each position.

    $$\theta_{p,i} = p\,b^{-2i/d_{\mathrm{head}}}, \qquad i = 0, \dots, d_{\mathrm{head}}/2 - 1$$

    Args:
        positions: Positions $p$.
        d_head: Width of a head, even.
        base: The base $b$; 10,000 in the paper.
        dtype: Of the tables. The angles themselves are never coarser than float32.
        layout: Which numbers make a pair, as in `rotate`.

    Returns:
        $\cos\theta$ for both numbers of a pair, and $-\sin\theta$ for the first, $\sin\theta$ for
        the second.

    Raises:
        ValueError: If `d_head` is not even and positive, or `layout` is neither of the two.

    Source:
        [Su et al. 2021][su2021roformer], section 3.2.2.
    """
    _check_even(d_head=d_head)
    if layout not in ("halves", "neighbours"):
        raise ValueError(f"layout must be 'halves' or 'neighbours', got {layout!r}")
    wide = torch.promote_types(dtype, torch.float32)
    exponents = torch.arange(0, d_head, 2, dtype=wide, device=positions.device) / d_head
    angles = positions[:, None].to(wide) * (1 / base**exponents)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    tables = torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)
    if layout == "halves":
        return tables
    order = halves_to_neighbours(d_head).to(positions.device)
    return tables[0][:, order], tables[1][:, order]


def rotate(
    x: Float[Tensor, "*batch query d_head"], rotary: Rotary, *, layout: str = "halves"
) -> Float[Tensor, "*batch query d_head"]:
    r"""Turn each pair of numbers by its position's angle.

    The product of a query and a key then depends on how far apart they are, not on where.

    Args:
        x: Queries or keys.
        rotary: The two `rotary_tables`, made for the same layout.
        layout: "halves" pairs $(x_i, x_{i + d/2})$, as transformers does; "neighbours" pairs
            $(x_{2i}, x_{2i+1})$, as the paper and ggml do.

    Returns:
        Vectors as long as before.

    Raises:
        ValueError: If `layout` is neither of the two.

    Examples:
        >>> query, key = torch.randn(2, 1, 8, dtype=torch.float64)
        >>> def turned(x, position):
        ...     return rotate(x, rotary_tables(torch.tensor([position]), 8, dtype=x.dtype))
        >>> near, far = turned(query, 5) * turned(key, 2), turned(query, 905) * turned(key, 902)
        >>> torch.allclose(near.sum(), far.sum())
        True

    Source:
        [Su et al. 2021][su2021roformer], section 3.2.2.
    """
    cos, sin = rotary
    if layout == "halves":
        return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin
    if layout == "neighbours":
        partner: Tensor = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
        return x * cos + partner * sin
    raise ValueError(f"layout must be 'halves' or 'neighbours', got {layout!r}")


def halves_to_neighbours(d_head: int) -> Int[Tensor, "{d_head}"]:
    """The order in which a head's numbers, paired by halves, are paired as neighbours.

    Its `argsort()` leads back. Both layouts are the same rotation of differently ordered numbers,
    so weights trained for one serve the other once their rows are put in order.

    Args:
        d_head: Width of a head, even.

    Raises:
        ValueError: If `d_head` is not even and positive.

    Examples:
        >>> halves_to_neighbours(6)
        tensor([0, 3, 1, 4, 2, 5])
    """
    _check_even(d_head=d_head)
    return torch.arange(d_head).view(2, -1).T.flatten()


class LearnedPositions(nn.Module):
    """Add a trained vector for each position; beyond the last there is none.

    Args:
        max_len: Positions that there are vectors for.
        d_model: Width of the vectors; they are drawn with a standard deviation of 0.02.

    Raises:
        ValueError: If a size is not positive.

    Source:
        [Gehring et al. 2017][gehring2017convolutional], section 3.1; GPT and BERT use it.
    """

    def __init__(self, max_len: int, d_model: int) -> None:
        super().__init__()
        if min(max_len, d_model) <= 0:
            raise ValueError(f"max_len and d_model must be positive, got {max_len} and {d_model}")
        self.weight = nn.Parameter(torch.randn(max_len, d_model) * 0.02)

    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        """Add the first rows of the table.

        Raises:
            ValueError: If `x` has another width, or more positions than the table.
        """
        max_len, d_model = self.weight.shape
        check_sequence("x", x, d_model)
        if x.shape[1] > max_len:
            raise ValueError(f"x must have at most max_len={max_len} positions, got {x.shape[1]}")
        return x + self.weight[: x.shape[1]]

    @classmethod
    def from_torch(cls, layer: nn.Embedding) -> "LearnedPositions":
        """Copy the rows of PyTorch's embedding, of which row 0 is the first position's.

        Raises:
            TypeError: If `layer` is no `nn.Embedding`.
            ValueError: If it has `padding_idx` (RoBERTa's first position is row 2) or `max_norm`.
        """
        if not isinstance(layer, nn.Embedding):
            raise TypeError(f"need an nn.Embedding, got {type(layer).__name__}")
        if layer.padding_idx is not None or layer.max_norm is not None:
            raise ValueError(
                "padding_idx and max_norm must be None, "
                f"got {layer.padding_idx} and {layer.max_norm}"
            )
        with torch.device("meta"):  # no memory, and no random numbers drawn, for what we replace
            ours = cls(layer.num_embeddings, layer.embedding_dim)
        ours.load_state_dict(
            {"weight": layer.weight.detach().clone(memory_format=torch.contiguous_format)},
            assign=True,
        )
        return ours.train(layer.training)


def alibi_slopes(
    num_heads: int, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> Float[Tensor, "{num_heads}"]:
    r"""How steeply each head's scores fall with the distance: $m_h = 2^{-8h/n}$.

    Where the number of heads $n$ is no power of two, the next lower power's slopes come first,
    then every other one of the next higher power's, as in the paper's code.

    Args:
        num_heads: Heads $n$ of attention, of which $h$ counts from 1.
        dtype: Of the slopes.
        device: Where the slopes shall be.

    Raises:
        ValueError: If `num_heads` is not positive.

    Examples:
        >>> alibi_slopes(4)
        tensor([0.2500, 0.0625, 0.0156, 0.0039])

    Source:
        [Press et al. 2022][press2022train], section 3.
    """
    num_heads = whole("num_heads", num_heads)
    if num_heads <= 0:
        raise ValueError(f"num_heads must be positive, got {num_heads}")
    power = 1 << (num_heads.bit_length() - 1)
    heads = torch.arange(1, num_heads + 1, dtype=torch.float64, device=device)
    heads = torch.where(heads > power, heads - power - 0.5, heads)  # half, 1 1/2, 2 1/2, ...
    return torch.exp2(-8 * heads / power).to(dtype)


def alibi(
    num_heads: int,
    seq: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Float[Tensor, "{num_heads} {seq} {seq}"]:
    r"""Attention with linear biases: the further away, the lower the score, $-m_h\,|q - k|$.

    It takes the place of positions in the vectors, and is the `bias` of `llmbook.attention`.
    Distances count in both directions; the paper's model sees the earlier positions alone.

    Args:
        num_heads: Heads of attention, each with its slope $m_h$.
        seq: Number of positions $q$ and $k$.
        dtype: Of the bias; the scores' own.
        device: Where the bias shall be.

    Raises:
        ValueError: If `num_heads` is not positive, or `seq` is negative.

    Examples:
        >>> alibi(num_heads=8, seq=3)[0]
        tensor([[ 0.0000, -0.5000, -1.0000],
                [-0.5000,  0.0000, -0.5000],
                [-1.0000, -0.5000,  0.0000]])

    Source:
        [Press et al. 2022][press2022train], section 3.
    """
    if seq < 0:
        raise ValueError(f"seq must not be negative, got {seq}")
    positions = torch.arange(seq, device=device)
    distance = (positions[:, None] - positions).abs()
    return alibi_slopes(num_heads, dtype, device)[:, None, None] * -distance


def relative_buckets(
    query_len: int,
    key_len: int,
    num_buckets: int = 32,
    max_distance: int = 128,
    *,
    bidirectional: bool = True,
    device: torch.device | str | None = None,
) -> Int[Tensor, "{query_len} {key_len}"]:
    """Sort distances into buckets: near ones exactly, far ones ever more coarsely.

    Of a direction's buckets, half hold one distance each and the others grow by a constant factor
    up to `max_distance`; the last one holds all that is further.

    Args:
        query_len: Positions that look.
        key_len: Positions that are looked at.
        num_buckets: Buckets in all.
        max_distance: Where the last bucket begins.
        bidirectional: Half of the buckets for keys after the query, as in an encoder. Otherwise
            those keys share bucket 0 with the query itself, as in a decoder, which masks them.
        device: Where the buckets shall be.

    Returns:
        The bucket of each query (row) and key (column).

    Raises:
        ValueError: If a length is negative, there are fewer than two buckets for a direction, or
            `max_distance` is not beyond the distances that have a bucket of their own.

    Examples:
        >>> relative_buckets(1, 12, num_buckets=8, max_distance=10)
        tensor([[0, 5, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7]])

    Source:
        [Raffel et al. 2020][raffel2020exploring], section 2.1.
    """
    num_buckets = whole("num_buckets", num_buckets)
    max_distance = whole("max_distance", max_distance)
    if min(query_len, key_len) < 0:
        raise ValueError(
            f"query_len and key_len must not be negative, got {query_len} and {key_len}"
        )
    one_way = num_buckets // 2 if bidirectional else num_buckets
    exact = one_way // 2
    if not 0 < exact < max_distance:
        raise ValueError(
            f"num_buckets must be at least {4 if bidirectional else 2}, and max_distance more than "
            f"{exact}, got num_buckets={num_buckets} and max_distance={max_distance}"
        )
    offset = torch.arange(key_len, device=device) - torch.arange(query_len, device=device)[:, None]
    distance = offset.abs() if bidirectional else (-offset).clamp(min=0)
    # In float32 as T5 has it, because rounding decides where a distance is a bucket's edge.
    octaves = (distance.clamp(min=exact).float() / exact).log() / math.log(max_distance / exact)
    far = (exact + (octaves * (one_way - exact)).long()).clamp(max=one_way - 1)
    buckets = torch.where(distance < exact, distance, far)
    return buckets + one_way * (offset > 0) if bidirectional else buckets


class RelativeBias(nn.Module):
    """T5's positions: each head has a trained number for each bucket of distances.

    Args:
        num_heads: Heads of attention.
        num_buckets: Buckets, as in `relative_buckets`.
        max_distance: Where the last bucket begins.
        bidirectional: Tell keys after the query from those before it.

    Raises:
        ValueError: If `num_heads` is not positive, or the buckets are impossible.

    Examples:
        >>> bias = RelativeBias(num_heads=8)
        >>> bias(query_len=5, key_len=9).shape
        torch.Size([8, 5, 9])

    Source:
        [Raffel et al. 2020][raffel2020exploring], section 2.1.
    """

    def __init__(
        self,
        num_heads: int,
        num_buckets: int = 32,
        max_distance: int = 128,
        *,
        bidirectional: bool = True,
    ) -> None:
        super().__init__()
        if num_heads <= 0:
            raise ValueError(f"num_heads must be positive, got {num_heads}")
        relative_buckets(0, 0, num_buckets, max_distance, bidirectional=bidirectional)  # checks
        self.max_distance, self.bidirectional = max_distance, bidirectional
        self.weight = nn.Parameter(torch.randn(num_buckets, num_heads) * 0.02)

    def forward(self, query_len: int, key_len: int) -> Float[Tensor, "heads {query_len} {key_len}"]:
        """Give the `bias` of `llmbook.attention`, the same for every text."""
        buckets = relative_buckets(
            query_len,
            key_len,
            len(self.weight),
            self.max_distance,
            bidirectional=self.bidirectional,
            device=self.weight.device,
        )
        return self.weight[buckets].movedim(-1, 0)


def _check_even(**size: int) -> None:
    ((name, value),) = size.items()
    if value < 2 or value % 2:
        raise ValueError(f"{name} must be even and positive, got {value}")
