"""The registry of self-supervised methods: where each is, and which settings it reads. Free of torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """``module`` of :mod:`train.methods` and the ``kind`` in it, made with (config, world, data); ``reads`` names the
    fields of ``MethodConfig`` that it reads besides ``embedding`` and ``projector_hidden``: any other is refused.
    ``takes_small_crops``: views behind the first two, at a lower size."""

    module: str
    kind: str
    reads: tuple[str, ...] = ()
    takes_small_crops: bool = False

    @property
    def has_queue(self) -> bool:
        """Whether negatives come from a queue of past keys."""
        return "queue_size" in self.reads

    @property
    def has_target(self) -> bool:
        """Whether a momentum copy is kept."""
        return "momentum" in self.reads


_MOCO = (
    *("momentum", "momentum_end", "temperature", "queue_size", "mask_same_patient", "projector_norm"),
    "variance_weight",
)
_PROTOTYPES = ("temperature", "num_prototypes", "freeze_prototypes_epochs")

METHODS = {
    "moco_v2": Entry("moco", "MoCo", _MOCO),
    "moco_v2plus": Entry("moco", "SymmetricMoCo", _MOCO),
    "moco_v3": Entry("moco_v3", "MoCoV3", ("momentum", "momentum_end", "temperature", "predictor_hidden")),
    "simclr": Entry("simclr", "SimCLR", ("temperature",)),
    "simsiam": Entry("simsiam", "SimSiam", ("predictor_hidden",)),
    "byol": Entry("byol", "BYOL", ("momentum", "momentum_end", "predictor_hidden")),
    "barlow_twins": Entry("barlow_twins", "BarlowTwins", ("redundancy",)),
    "vicreg": Entry("vicreg", "VICReg", ("invariance_weight", "variance_weight", "covariance_weight")),
    "swav": Entry("swav", "SwAV", (*_PROTOTYPES, "sinkhorn_iterations", "sinkhorn_epsilon"), takes_small_crops=True),
    "dino": Entry(
        "dino",
        "DINO",
        (
            *("momentum", "momentum_end", "projector_norm", *_PROTOTYPES, "center_momentum"),
            *("teacher_temperature", "teacher_temperature_end", "teacher_warmup_epochs"),
        ),
        takes_small_crops=True,
    ),
}
