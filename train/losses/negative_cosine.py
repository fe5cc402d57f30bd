"""Negative cosine similarity, the loss of SimSiam. Legend: B batch, D embedding."""

from torch import Tensor


def negative_cosine(prediction: Tensor, embedding: Tensor) -> Tensor:
    """Mean negative cosine of normalised predictions (B, D) with normalised embeddings (B, D); -1 to 1, best at -1.

    No gradient flows into ``embedding``: without this stop everything collapses (SimSiam, Chen and He 2021, arXiv
    2011.10566, section 4.1). Computed in fp32 whatever the inputs.
    """
    return -(prediction.float() * embedding.detach().float()).sum(dim=1).mean()
