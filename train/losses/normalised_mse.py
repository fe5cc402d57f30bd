"""Squared distance of normalised vectors, the loss of BYOL. Legend: B batch, D embedding."""

from torch import Tensor


def normalised_mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of normalised predictions (B, D) from normalised targets (B, D); 0 to 4, best at 0.

    BYOL (Grill et al. 2020, arXiv 2006.07733), equation 2; equal to 2 - 2 cosine. Computed in fp32 whatever the inputs.
    """
    return (prediction.float() - target.detach().float()).square().sum(dim=1).mean()
