"""Every choice that shapes a training, in one place; the resolved form is saved with the run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Trunk = Literal["own", "shared"]
Variant = Literal["multihead", "singlehead+p", "singlehead"]
Precision = Literal["fp32", "bf16"]

# The deck's approaches, as we read them. A single head is trained as CNN-LSTMs usually are: on the
# map of the whole region, on windows of which the last step alone has loss, each cut out of the
# record and encoded by itself, launched operation by operation. `+p` has the pixel-contribution
# block.
USUAL: dict[str, Any] = {
    "region": True,
    "windows": True,
    "batch": 64,
    "stretch": 1,
    "capture": False,
    "precision": "fp32",
}
VARIANTS: dict[Variant, dict[str, Any]] = {
    "multihead": {},
    "singlehead+p": USUAL,
    "singlehead": {**USUAL, "contribution": False},
}

# With a shared trunk a head starts from what all watersheds taught, and only adapts it.
TRUNKS: dict[Trunk, dict[str, Any]] = {
    "own": {},
    "shared": {"trunk": "shared", "updates": 100, "learning_rate": 0.001},
}


# After validation a head goes on for a while on its years too: weights to be used, not compared.
REFIT: dict[str, Any] = {"refit": 100}


# Where steps are shorter than a day, a stretch of 365 is weeks, not a year: a record holds more of
# them, which take more updates and less dropout.
SUBDAILY = 4  # times as many updates
SUBDAILY_DROPOUT = 0.1
SUBDAILY_FIELDS = {"updates", "refit", "trunk_updates", "evaluate_every"}


class Settings(BaseModel):
    """Defaults were chosen on validation years alone; `docs/model.md` says how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # the network
    contribution: bool = Field(default=True, description="the pixel-contribution block")
    cnn: bool = Field(default=True, description="the image encoder")
    history: bool = Field(default=False, description="past discharge as input: a forecast")
    conv_channels: int = Field(default=8, ge=1, description="maps of each convolution")
    pools: int = Field(default=4, ge=1, description="learned location maps that pool an image")
    image_features: int = Field(default=8, ge=1, description="numbers an image is encoded into")
    hidden: int = Field(default=64, ge=1, description="units of the LSTM")
    dropout: float = Field(default=0.4, ge=0, lt=1, description="on the LSTM's output")

    region: bool = Field(default=False, description="maps of the region, not of the window")

    # the training
    windows: bool = Field(default=False, description="encode each stretch by itself, not all once")
    updates: int = Field(default=250, ge=1, description="gradient steps")
    batch: int = Field(default=4, ge=1, description="stretches in a batch")
    stretch: int = Field(default=365, ge=1, description="steps with loss in a stretch")
    warmup: int = Field(default=180, ge=0, description="steps before them, without loss")
    learning_rate: float = Field(default=0.005, gt=0)
    physical_rate: float = Field(default=5.0, gt=0, description="times that, of the block's")
    rise: float = Field(default=0.1, ge=0, lt=1, description="share of updates spent warming up")
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0, description="largest gradient norm of a head")
    averaging: float = Field(default=0.98, ge=0, lt=1, description="decay of the averaged weights")
    sqrt_loss: float = Field(default=0.5, ge=0, description="weight of the error of sqrt(runoff)")
    evaluate_every: int = Field(default=25, ge=1, description="updates between validations")
    tolerance: float = Field(default=0.1, ge=0, description="validation NSE below the best to keep")
    patience: int = Field(default=4, ge=1, description="validations in a row not kept, at most")
    refit: int = Field(default=0, ge=0, description="updates after these, on validation years too")
    refit_rate: float = Field(default=0.6, gt=0, description="times the learning rate, of those")

    # what watersheds learn together before each has its own head
    trunk: Trunk = Field(default="own", description="whether heads start from a common trunk")
    trunk_updates: int = Field(default=600, ge=1, description="gradient steps of a branch")
    trunk_rate: float = Field(default=0.005, gt=0, description="their learning rate")
    trunk_branches: int = Field(default=8, ge=1, description="that teach it side by side, at most")
    trunk_round: int = Field(default=5, ge=1, description="updates until branches become one")

    # what a GPU does otherwise than a CPU, which computes in fp32, operation by operation
    precision: Precision = Field(default="bf16", description="of a GPU's CNN and LSTM products")
    capture: bool = Field(default=True, description="a GPU replays updates as a CUDA graph")

    # the experiment
    variant: Variant = Field(default="multihead", description="the name of these choices")
    seed: int = 0
    validation_years: tuple[int, ...] = Field(default=(), description="water years; see Split")
    test_years: tuple[int, ...] = Field(default=(), description="water years; see Split")

    @property
    def all_updates(self) -> int:
        """Gradient steps of a head, those of the refit among them."""
        return self.updates + self.refit

    def resolved(self, step: timedelta) -> Settings:
        """Return the settings of a store with this step, every field of them set.

        The presets of the variant and the trunk, and what steps shorter than a day need, replace
        defaults only: a value that the user chose stays.
        """
        presets = VARIANTS[self.variant] | TRUNKS[self.trunk]
        values = {**type(self)().model_dump(), **presets, **self.model_dump(exclude_unset=True)}
        if step < timedelta(days=1):
            free = type(self).model_fields.keys() - self.model_fields_set
            for name in SUBDAILY_FIELDS & free:
                values[name] *= SUBDAILY
            if "dropout" in free:
                values["dropout"] = SUBDAILY_DROPOUT
        return type(self)(**values)

    @property
    def title(self) -> str:
        """The variant, and what of it is switched off."""
        off = [
            f"without {name}"
            for name, on in (("contribution", self.contribution), ("CNN", self.cnn))
            if not on and self.variant != "singlehead"
        ]
        common = ["on a shared trunk"] if self.trunk == "shared" else []
        history = ["with past discharge"] if self.history else []
        refit = ["refitted with the validation years"] if self.refit else []
        return " ".join([self.variant, " and ".join(off + common + history + refit)]).strip()
