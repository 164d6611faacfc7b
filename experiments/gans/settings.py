"""How GANs are trained in a comparison. Needs no package of the extra."""

from typing import NamedTuple


class GanSettings(NamedTuple):
    """How the GANs of a comparison are trained, unless `checkpoints` has them; see `experiments.train_gan`.

    Attributes:
      budget_seconds: of training.
      patience: epochs without a new least held-out error, after which training ends.
      width: channels of the first layers.
      batch_size: pictures of a step, for GANs of several expressions; None as published.
      checkpoints: a folder with trained GANs, each in a folder of its name; or None.
    """

    budget_seconds: float = 1200.0
    patience: int = 20
    width: int = 64
    batch_size: int | None = None
    checkpoints: str | None = None
