"""What a step should take on N nodes of M devices: one rank's step, and the exchanges at measured or stated speeds.

Legend: R ranks, B images a rank, D embedding. Nothing overlaps, as in the trainer with ZeRO 0, so parts add up:

    step(R) = step(1) * sharing + shuffle + key gather + gradient exchange

- *sharing* is above 1 only where ranks have fewer cores than threads: ranks * threads / cores.
- shuffle and key gather are all-gathers: each rank sends and receives (R - 1) times what one rank holds.
- the gradients' all-reduce sends and receives 2 (R - 1) / R times the gradients (Patarasuk, Yuan 2009).
- an exchange takes (R - 1) times a latency (twice that for all-reduce) and its bytes over a bandwidth. Across nodes the
  bandwidth is that of a node's network or of the inside, whichever is lower: of a ring, one link leaves each node.

Left out: what the loader, the optimiser's partition under ZeRO and stragglers cost.
"""

from dataclasses import dataclass

KEY_BYTES = 4  # of one number; images, keys and gradients are exchanged in fp32
PATIENT_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is exchanged in a step, in bytes of one rank."""

    images: int
    keys: int
    gradients: int

    @classmethod
    def of(cls, *, batch: int, pixels: int, embedding: int, num_parameters: int) -> "Sizes":
        """Of ``batch`` gray views of ``pixels`` by ``pixels``, their keys with the patients' numbers, and all
        gradients."""
        return cls(
            images=batch * pixels**2 * KEY_BYTES,
            keys=batch * (embedding * KEY_BYTES + PATIENT_BYTES),
            gradients=num_parameters * KEY_BYTES,
        )


@dataclass(frozen=True, kw_only=True)
class Link:
    """How fast ranks exchange."""

    latency: float
    """Seconds for each of the R - 1 hops of an all-gather of next to nothing."""
    gather: float
    """Bytes per second into a rank in an all-gather."""
    reduce: float
    """Bytes per second through a rank in an all-reduce."""

    def through(self, bytes_per_second: float) -> "Link":
        """The same where a network of that speed is on the way."""
        return Link(
            latency=self.latency,
            gather=min(self.gather, bytes_per_second),
            reduce=min(self.reduce, bytes_per_second),
        )


FREE = Link(latency=0.0, gather=float("inf"), reduce=float("inf"))
"""An exchange that takes no time: of ranks that could not be measured."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Seconds of a step by part."""

    num_ranks: int
    compute: float
    shuffle: float
    key_gather: float
    gradient_exchange: float

    @property
    def exchange(self) -> float:
        return self.shuffle + self.key_gather + self.gradient_exchange

    @property
    def step(self) -> float:
        return self.compute + self.exchange


def predict(num_ranks: int, *, compute: float, sizes: Sizes, link: Link, sharing: float = 1.0) -> Prediction:
    """The step of ``num_ranks`` ranks.

    Args:
        compute: seconds of one rank's step by itself.
        sharing: how many times longer a rank computes because ranks share cores.
    """
    others = num_ranks - 1
    hops = others * link.latency
    # The keys go with the patients' numbers, in a gather of their own.
    return Prediction(
        num_ranks=num_ranks,
        compute=compute * sharing,
        shuffle=hops + others * sizes.images / link.gather,
        key_gather=2 * hops + others * sizes.keys / link.gather,
        gradient_exchange=2 * hops + 2 * others / num_ranks * sizes.gradients / link.reduce,
    )


def fit_link(num_ranks: int, *, tiny: float, gather: float, reduce: float, sizes: Sizes) -> Link:
    """The link that makes :func:`predict` give the seconds measured on ``num_ranks`` ranks of one machine.

    Args:
        tiny: of an all-gather of a few bytes.
        gather: of an all-gather of ``sizes.images`` a rank.
        reduce: of an all-reduce of ``sizes.gradients``.
    """
    others = num_ranks - 1
    latency = tiny / others
    return Link(
        latency=latency,
        gather=others * sizes.images / max(gather - others * latency, 1e-9),
        reduce=2 * others / num_ranks * sizes.gradients / max(reduce - 2 * others * latency, 1e-9),
    )
