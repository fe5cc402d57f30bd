"""Whether pretraining saw what an encoder is tested on. It never learns from labels, but an encoder that has seen the
test images is no measure of how it does on new patients; and a hospital that is left out must have been left out there.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from shards.index import ShardIndex


def trained_on(index: ShardIndex) -> dict[str, list[str]]:
    """The splits of each packed dataset that have rows in the index, by the dataset's fingerprint: what a pretraining
    run writes beside its encoder."""
    splits, numbers = index.column("split"), index.packed_numbers()
    return {
        fingerprint: sorted(set(splits[numbers == number].tolist()))
        for number, fingerprint in enumerate(index.fingerprints)
        if (numbers == number).any()
    }


def num_seen(seen: Mapping[str, Sequence[str]], test: ShardIndex) -> int:
    """How many test images are of a dataset and split that pretraining took images of.

    Args:
        seen: what :func:`trained_on` gave when the encoder was trained.
    """
    splits, numbers = test.column("split"), test.packed_numbers()
    of_pretraining = [
        (numbers == number) & np.isin(splits, list(seen.get(fingerprint, ())))
        for number, fingerprint in enumerate(test.fingerprints)
    ]
    return int(np.sum(of_pretraining))
