"""Logistic regressions of many labels and penalties on one feature matrix, solved at once.

Newton's method with conjugate gradients, for all columns (label and penalty) together: the features are read by two
matrix products an iteration, however many columns there are. In the features' principal axes their Gram matrix is
diagonal, and so nearly is each column's Hessian, whose diagonal therefore preconditions the gradients well. 14 labels
at 6 penalties over 191,000 images of 512 features take about as long as scikit-learn's Newton solver takes for one.

Legend: M images, F features, R axes, L labels, S strengths, K = L x S columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_MAX_STEPS = 40
_MAX_GRADIENTS = 60
_MAX_HALVINGS = 12


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Standardised features in their principal axes: ``values`` (M, R + 1), the last column ones, for the intercept.

    Features (N, F) have the logits ``features @ (projection @ weights[:-1]) + shift``; see :meth:`logits`.
    ``squares`` (R + 1,) are the sums of squares of the columns of ``values``.
    """

    values: Tensor
    squares: Tensor
    mean: Tensor
    projection: Tensor

    def logits(self, features: Tensor, weights: Tensor) -> Tensor:
        """Logits (N, K) of features (N, F) under weights (R + 1, K), without a standardised copy of the features."""
        in_features, shift = self.in_features(weights)
        return features @ in_features.to(features.dtype) + shift.to(features.dtype)

    def in_features(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """What weights (R + 1, K) are on the features themselves, (F, K), with their intercepts (K,); in float64."""
        in_features = (self.projection @ weights[:-1]).double()
        return in_features, weights[-1].double() - self.mean.double() @ in_features


def principal_axes(features: Tensor) -> Axes:
    """Standardises features (M, F) by their own means and deviations, and turns them into their principal axes.

    A feature that does not vary has rounding noise for a deviation, and divided by it would outshout the others on
    other images: it is left out. With fewer images than features, the images' span holds the solution (representer
    theorem), so there are at most M axes.
    """
    mean, deviation = _moments(features)
    varies = deviation > 1e-6 * mean.abs()
    scale = torch.where(varies, 1 / torch.where(varies, deviation, 1.0), 0.0)
    num_images, num_features = features.shape
    scaled = (features - mean.to(features.dtype)) * scale.to(features.dtype)
    if num_images < num_features:
        directions = torch.linalg.svd(scaled.double(), full_matrices=False)[2].T
    else:
        directions = torch.linalg.eigh((scaled.T @ scaled).double())[1]
    projection = (directions * scale[:, None]).to(features.dtype)  # (F, R)
    values = torch.empty((num_images, directions.shape[1] + 1), dtype=features.dtype)
    torch.mm(scaled, directions.to(features.dtype), out=values[:, :-1])
    values[:, -1] = 1.0
    squares = torch.einsum("mr,mr->r", values, values)
    return Axes(values=values, squares=squares, mean=mean, projection=projection)


def fit_logistic(axes: Axes, labels: Tensor, strengths: Sequence[float]) -> Tensor:
    """Weights (R + 1, L, S) that minimise ``sum of log losses + |w|^2 / (2 strength)``, the intercept unpenalised.

    A strength is scikit-learn's C. Weak penalties on separable labels stop where the loss is next to nothing: the
    order of the scores has settled by then.

    Args:
        labels: (M, L) of 0 and 1, NaN where unlabelled, both classes in each column.
    """
    num_labels, num_strengths = labels.shape[1], len(strengths)
    known = labels.isfinite().to(axes.values.dtype)
    column_label = torch.arange(num_labels).repeat_interleave(num_strengths)
    problem = _Problem(
        axes=axes,
        labels=labels.nan_to_num().to(axes.values.dtype),
        known=known,
        penalties=(1 / torch.tensor(strengths, dtype=axes.values.dtype)).repeat(num_labels),
        column_label=column_label,
    )
    return problem.solve().reshape(-1, num_labels, num_strengths)


@dataclass(frozen=True, kw_only=True)
class _Problem:
    axes: Axes
    labels: Tensor  # (M, L), 0 where unlabelled
    known: Tensor  # (M, L), 1 or 0
    penalties: Tensor  # (K,)
    column_label: Tensor  # (K,)

    def solve(self) -> Tensor:
        values, num_columns = self.axes.values, len(self.penalties)
        positives, counts = (self.labels * self.known).sum(dim=0), self.known.sum(dim=0)
        weights = values.new_zeros((values.shape[1], num_columns))
        weights[-1] = torch.log(positives / (counts - positives))[self.column_label]
        logits = weights[-1].expand(len(values), -1).clone()
        loss = self._loss(logits, weights, self._columns(torch.arange(num_columns)))
        tolerance = 1e-7 if values.dtype == torch.float64 else 1e-6
        active = torch.arange(num_columns)
        for _ in range(_MAX_STEPS):
            labels, known, penalty = columns = self._columns(active)
            now, at = logits[:, active], weights[:, active]
            probabilities = now.sigmoid()
            penalties = self._penalty(penalty)
            gradient = values.T @ (known * (probabilities - labels)) + penalties * at
            curvature = known * probabilities * (1 - probabilities)
            step, decrement = self._newton_step(gradient, curvature, penalties)
            along = values @ step
            reached, size = self._search(now, along, at, step, loss[active], decrement, columns)
            logits[:, active] = now + size * along
            weights[:, active] = at + size * step
            has_moved = (size > 0) & (loss[active] - reached > tolerance * reached.abs().clamp_min(1e-3))
            is_unsolved = has_moved & (decrement > tolerance * reached.abs().clamp_min(1e-3))
            loss[active] = reached
            active = active[is_unsolved]
            if not len(active):
                break
        return weights

    def _newton_step(self, gradient: Tensor, curvature: Tensor, penalties: Tensor) -> tuple[Tensor, Tensor]:
        """The step (R + 1, K) that conjugate gradients find, and how much each column's loss is to fall by it (K,)."""
        values = self.axes.values
        spread = curvature.mean(dim=0) * self.axes.squares[:, None] + penalties
        preconditioner = 1 / spread.clamp_min(torch.finfo(values.dtype).tiny)
        step = torch.zeros_like(gradient)
        residual = -gradient
        direction = preconditioner * residual
        energy = (residual * direction).sum(dim=0)  # squared norm of the residual
        # Rough at first, exact near the solution, where a rough step would waste the quadratic convergence.
        goal = energy * torch.clamp(energy / len(values), 1e-8, 1e-2)
        for _ in range(_MAX_GRADIENTS):
            is_open = energy > goal
            if not is_open.any():
                break
            bent = values.T @ (curvature * (values @ direction)) + penalties * direction
            bend = (direction * bent).sum(dim=0)
            size = torch.where(is_open & (bend > 0), energy / torch.where(bend > 0, bend, 1.0), 0.0)
            step += size * direction
            residual -= size * bent
            conditioned = preconditioner * residual
            after = (residual * conditioned).sum(dim=0)
            direction = conditioned + torch.where(is_open, after / energy.clamp_min(1e-30), 0.0) * direction
            energy = torch.where(is_open, after, energy)
        return step, -(gradient * step).sum(dim=0) / 2

    def _search(
        self,
        logits: Tensor,
        along: Tensor,
        weights: Tensor,
        step: Tensor,
        loss: Tensor,
        decrement: Tensor,
        columns: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Halves each column's step until its loss falls; the loss reached (K,) and the size, 0 where none does."""
        size = torch.ones_like(loss)
        for _ in range(_MAX_HALVINGS):
            reached = self._loss(logits + size * along, weights + size * step, columns)
            is_better = reached <= loss - 1e-4 * size * decrement
            if is_better.all():
                return reached, size
            size = torch.where(is_better, size, size / 2)
        return torch.where(is_better, reached, loss), torch.where(is_better, size, 0.0)

    def _loss(self, logits: Tensor, weights: Tensor, columns: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        labels, known, penalty = columns
        each = known * (F.softplus(logits) - labels * logits)
        return each.sum(dim=0) + (self._penalty(penalty) * weights.square()).sum(dim=0) / 2

    def _columns(self, active: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Labels and mask (M, K) and penalty (K,) of these columns."""
        number = self.column_label[active]
        return self.labels[:, number], self.known[:, number], self.penalties[active]

    def _penalty(self, penalty: Tensor) -> Tensor:
        """Penalties (R + 1, K): none on the intercept."""
        penalties = penalty.expand(self.axes.values.shape[1], -1).clone()
        penalties[-1] = 0.0
        return penalties


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Means and deviations (F,) in float64, by blocks, so that no float64 copy of the features is made."""
    blocks = features.split(8192)
    total = torch.stack([block.double().sum(dim=0) for block in blocks]).sum(dim=0)
    mean = total / len(features)
    squares = torch.stack([(block.double() - mean).square().sum(dim=0) for block in blocks]).sum(dim=0)
    return mean, (squares / len(features)).sqrt()
