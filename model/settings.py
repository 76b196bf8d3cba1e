"""Every number that shapes a training, in one place; the resolved form is saved with the run.

Constants of physics, units and published equations stay beside the code that uses them.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    model_validator,
)

Trunk = Literal["own", "shared"]
Variant = Literal["multihead", "singlehead+p", "singlehead", "lstm"]
Precision = Literal["fp32", "bf16"]
MeltModel = tuple[PositiveFloat, float]  # see `snow_baseline`


def _as_texts(given: Any) -> Any:
    """One period or several, as text, numbers (water years) or days: all as text."""
    several = given if isinstance(given, list | tuple) else (given,)
    return tuple(str(one) if isinstance(one, int | date) else one for one in several)


Periods = Annotated[tuple[str, ...], BeforeValidator(_as_texts)]  # see `model.inputs.periods`

# The slide deck's approaches, as we read them. The two single heads are trained as CNN-LSTMs
# usually are: on the map of the whole region, on windows with loss on the last step alone, each cut
# out of the record and encoded by itself, without CUDA graphs. "+p" has the contribution block.
WINDOWED_BASELINE: dict[str, Any] = {
    "region": True,
    "windows": True,
    "batch": 64,
    "stretch": 1,
    "capture": False,
    "precision": "fp32",
}
# A plain LSTM on the basin means of rain and of the other forcings, and the season: none of the
# parts that know something of a watershed.
PLAIN_LSTM: dict[str, Any] = {
    "contribution": False,
    "cnn": False,
    "soil": False,
    "wetness": False,
    "snow": False,
}
VARIANTS: dict[Variant, dict[str, Any]] = {
    "multihead": {},
    "singlehead+p": WINDOWED_BASELINE,
    "singlehead": {**WINDOWED_BASELINE, "contribution": False},
    "lstm": PLAIN_LSTM,
}

# Parts that a setting of this name takes away, in words.
SWITCHES = {
    "contribution": "contribution",
    "cnn": "CNN",
    "soil": "soil stores",
    "wetness": "wetness",
    "snow": "snow",
    "travel_time": "travel time",
    "distance": "distance",
    "cell_states": "cell states",
    "gated_readout": "gated readout",
}

# A head that starts from a shared trunk only has to adapt it.
TRUNKS: dict[Trunk, dict[str, Any]] = {
    "own": {},
    "shared": {"updates": 100, "learning_rate": 0.001},
}

# With steps shorter than a day a stretch of 365 steps is weeks, not a year. A record then holds
# more stretches, which take more updates and less dropout.
DAY = timedelta(days=1)
SCALED_BY_STEP = ("updates", "refit_updates", "trunk_updates", "evaluate_every")


class Settings(BaseModel):
    """Settings of a training. How the defaults were chosen: `docs/lab_notebook.md`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    # What the network consists of
    contribution: bool = Field(default=True, description="use the pixel-contribution block")
    cnn: bool = Field(default=True, description="use the image encoder")
    soil: bool = Field(default=True, description="soil stores: their excess and filling are inputs")
    wetness: bool = Field(default=True, description="antecedent wetness is an input")
    snow: bool = Field(default=True, description="look whether a watershed has snow")
    history: bool = Field(default=False, description="past discharge is an input")
    hidden: int = Field(default=64, ge=1, description="units of the LSTM")
    dropout: float = Field(default=0.4, ge=0, lt=1, description="on the LSTM's output")

    # Image encoder
    patch: int = Field(default=4, ge=1, description="side and stride of the convolution [cells]")
    conv_channels: int = Field(default=8, ge=1, description="maps that the convolution makes")
    pools: int = Field(default=4, ge=1, description="learned location maps that pool an image")
    image_features: int = Field(default=8, ge=1, description="numbers that encode an image")

    # Pixel-contribution block, and its parts
    travel_time: bool = Field(
        default=True, description="rain travels to the outlet, and does not arrive in its own step"
    )
    distance: bool = Field(
        default=True,
        description="cells have their own flow distances (in the image encoder too), and not the "
        "watershed's mean; lags are as many",
    )
    cell_states: bool = Field(
        default=True, description="the cell's state is a factor of its effective rain"
    )
    gated_readout: bool = Field(
        default=True, description="the routed rain is a part of runoff, not an input alone"
    )
    start_velocity: float = Field(
        default=0.7,
        gt=0,
        description="initial velocity [m s-1]; rivers in flood have 0.5 to 2",
    )
    start_dispersion: float = Field(
        default=3000.0, gt=0, description="initial dispersion of channels and hillslopes [m2 s-1]"
    )
    slowest_velocity: float = Field(
        default=0.2, gt=0, description="velocity that the number of lags allows for [m s-1]"
    )
    shortest_path: float = Field(
        default=1000.0, gt=0, description="flow distance at least [m]: every cell has hillslopes"
    )

    # Readouts
    output_gain: float = Field(default=0.3, gt=0, description="Xavier gain of the output weights")
    min_start_runoff: float = Field(
        default=0.01, gt=0, description="initial mean runoff at least [standard deviations]"
    )
    sqrt_offset: float = Field(
        default=0.01, gt=0, description="added under square roots of depths [mm per step]"
    )

    # Inputs: map, soil, wetness
    region: bool = Field(default=False, description="maps of the region, not of the watershed")
    soil_capacities: tuple[PositiveFloat, ...] = Field(
        default=(40.0, 120.0, 360.0, 1080.0),
        description="of a cell's soil stores [mm], from rock and roofs to deep loam",
    )
    soil_start: float = Field(default=0.5, ge=0, le=1, description="initial filling of the stores")
    evaporated_range: tuple[PositiveFloat, PositiveFloat] = Field(
        default=(0.1, 0.95),
        description="limits of the share of rain that evaporates, where no temperature is known",
    )
    cell_memory_days: tuple[PositiveFloat, ...] = Field(
        default=(10.0, 60.0), description="memories of a cell's antecedent wetness"
    )
    basin_memory_days: tuple[PositiveFloat, ...] = Field(
        default=(5.0, 20.0, 60.0, 180.0), description="memories of the basin's antecedent wetness"
    )

    # Inputs: snow
    snow_freezing: float = Field(default=-1.0, description="all is snow at or below [degC]")
    snow_thawing: float = Field(default=3.0, description="all is rain at or above [degC]")
    snow_full_cover: float = Field(
        default=0.9, gt=0, description="share of a mean year's snowfall that covers a cell whole"
    )
    snow_min_cover: float = Field(
        default=0.1, ge=0, le=1, description="share of the melt that the thinnest snow has"
    )
    snow_baseline: MeltModel = Field(
        default=(4.0, 0.0),
        description="melt factor [mm degC-1 day-1] and daily memory of the snow's temperature that "
        "decide whether a watershed has snow",
    )
    snow_melt_factors: tuple[PositiveFloat, ...] = Field(
        default=(2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0, 10.0),
        min_length=1,
        description="candidates; 2 to 6 are common without forest (Hock 2003, J. Hydrol. 282)",
    )
    snow_memories: tuple[float, ...] = Field(
        default=(0.0, 0.7), min_length=1, description="candidates, combined with the factors"
    )
    snow_min_share: float = Field(
        default=0.01, ge=0, description="share of precipitation that snow has to move in time"
    )
    snow_min_gain: float = Field(
        default=0.02, description="gain in the ridge's NSE that snow has to bring"
    )
    snow_folds: int = Field(default=4, ge=2, description="of the cross-validation of snow")

    # Inputs: static attributes, scaled by those of a typical watershed (shared trunk alone)
    typical_area: float = Field(default=1e9, gt=0, description="[m2]")
    typical_distance: float = Field(default=5e4, gt=0, description="mean flow distance [m]")
    typical_slope: float = Field(default=3e-3, gt=0, description="mean height over mean distance")
    typical_rain: float = Field(default=3.0, gt=0, description="[mm/day]")

    # Training
    windows: bool = Field(default=False, description="encode each stretch by itself, not all once")
    updates: int = Field(default=250, ge=1, description="gradient steps")
    batch: int = Field(default=4, ge=1, description="stretches in a batch")
    stretch: int = Field(default=365, ge=1, description="steps with loss in a stretch")
    warmup: int = Field(default=180, ge=0, description="steps before them, without loss")
    learning_rate: float = Field(default=0.005, gt=0, description="highest, of AdamW")
    physical_rate: float = Field(
        default=5.0, gt=0, description="factor on the learning rate of physical parameters"
    )
    rise: float = Field(default=0.1, ge=0, lt=1, description="share of updates of the rise to it")
    final_rate: float = Field(default=0.02, ge=0, description="of the learning rate, at the end")
    weight_decay: float = Field(default=0.0, ge=0, description="of all but physical parameters")
    clip: float = Field(default=1.0, gt=0, description="largest gradient norm of a head")
    averaging: float = Field(default=0.98, ge=0, lt=1, description="decay of the averaged weights")
    averaging_start: float = Field(
        default=10.0, ge=0, description="decay is at most u / (u + this) after u updates"
    )
    sqrt_loss: float = Field(default=0.5, ge=0, description="weight of the error of sqrt(runoff)")
    evaluate_every: int = Field(default=25, ge=1, description="updates between validations")
    tolerance: float = Field(
        default=0.1, ge=0, description="validation NSE below the best at which weights are kept"
    )
    patience: int = Field(default=4, ge=1, description="validations in a row not kept, at most")
    restarts: int = Field(default=3, ge=0, description="of a head whose loss is not finite")
    restart_rate: float = Field(
        default=0.3, gt=0, lt=1, description="factor on the learning rate at each restart"
    )

    # Refit: after validation a head learns from that part too, for weights to be used
    refit: bool = Field(default=False, description="go on learning on the validation part too")
    refit_updates: int = Field(default=100, ge=1, description="gradient steps of the refit")
    refit_rate: float = Field(default=0.6, gt=0, description="factor on its learning rate")

    # Shared trunk: what watersheds learn together before each has its own head
    trunk: Trunk = Field(default="own", description="whether heads start from a shared trunk")
    trunk_updates: int = Field(default=600, ge=1, description="gradient steps of a branch")
    trunk_rate: float = Field(default=0.005, gt=0, description="learning rate of a branch")
    trunk_branches: int = Field(default=8, ge=1, description="branches side by side, at most")
    trunk_round: int = Field(default=5, ge=1, description="updates between averages of branches")
    trunk_sites: int = Field(
        default=128, ge=1, description="watersheds that train the trunk, at most; drawn by the seed"
    )

    # Steps shorter than a day
    subdaily_updates: int = Field(
        default=4, ge=1, description="factor on updates and on the updates between validations"
    )
    subdaily_dropout: float = Field(default=0.1, ge=0, lt=1, description="in place of `dropout`")

    # GPU; a CPU computes in fp32, operation by operation, head by head
    precision: Precision = Field(default="bf16", description="of a GPU's CNN and LSTM products")
    capture: bool = Field(default=True, description="a GPU replays updates as a CUDA graph")

    # Experiment
    variant: Variant = Field(default="multihead", description="the name of these choices")
    seed: int = Field(default=0, ge=0, description="of initial weights, draws and dropout")
    seeds: int = Field(
        default=1,
        ge=1,
        description="networks of a head, trained with this many seeds from `seed` on; their mean "
        "discharge is the answer",
    )

    # Split: periods as `model.inputs.periods` reads them; `model.inputs.split` chooses the others
    train: Periods = Field(default=(), description="water years or dates to learn from")
    validation: Periods = Field(default=(), description="water years or dates that pick weights")
    test: Periods = Field(default=(), description="water years or dates to score")
    water_year_starts_in: int = Field(
        default=10, ge=1, le=12, description="first month of a water year"
    )

    @model_validator(mode="after")
    def _ordered_limits(self) -> Self:
        if self.snow_freezing >= self.snow_thawing:
            raise ValueError(
                f"snow_freezing {self.snow_freezing}, snow_thawing {self.snow_thawing}: expected "
                "the first below the second"
            )
        low, high = self.evaporated_range
        if not low <= high < 1:
            raise ValueError(f"evaporated_range {low}, {high}: expected low <= high < 1")
        return self

    def resolved(self, step: timedelta) -> Settings:
        """Complete these settings for a store with time steps of length `step`.

        What the user did not set follows `variant`, `trunk` and the step. What the user set stays
        as it is. Every field of the result counts as set, so resolving it again changes nothing.
        """
        defaults = {name: field.default for name, field in Settings.model_fields.items()}
        defaults |= VARIANTS[self.variant] | TRUNKS[self.trunk]
        if step < DAY:
            defaults |= {name: self.subdaily_updates * defaults[name] for name in SCALED_BY_STEP}
            defaults["dropout"] = self.subdaily_dropout
        chosen = {name: getattr(self, name) for name in self.model_fields_set}
        return Settings(**(defaults | chosen))

    def member(self, k: int) -> Settings:
        """Settings of the k-th of a head's `seeds` networks."""
        return self.model_copy(update={"seed": self.seed + k, "seeds": 1})

    @property
    def all_updates(self) -> int:
        """Gradient steps of a network, including those of the refit."""
        return self.updates + (self.refit_updates if self.refit else 0)

    @property
    def head_updates(self) -> int:
        """Gradient steps of a head: those of all its networks."""
        return self.seeds * self.all_updates

    @property
    def capacities(self) -> tuple[float, ...]:
        """Capacities of a cell's soil stores [mm]; none without `soil`."""
        return self.soil_capacities if self.soil else ()

    @property
    def cell_memories(self) -> tuple[float, ...]:
        """Memories of a cell's antecedent wetness [days]; none without `wetness`."""
        return self.cell_memory_days if self.wetness else ()

    @property
    def basin_memories(self) -> tuple[float, ...]:
        """Memories of the basin's antecedent wetness [days]; none without `wetness`."""
        return self.basin_memory_days if self.wetness else ()

    @property
    def water_series(self) -> int:
        """Number of the basin's water series: rain, and the excess of each soil store."""
        return 1 + len(self.capacities)

    @property
    def wetness_states(self) -> int:
        """Number of wetness series of a cell: filling of each soil store, antecedent wetness."""
        return len(self.capacities) + len(self.cell_memories)

    @property
    def gated(self) -> bool:
        """Whether the answer is the gated readout, not the direct one."""
        return self.contribution and self.gated_readout

    @property
    def title(self) -> str:
        """The variant in words, with what is switched on or off."""
        usual = Settings().model_dump() | VARIANTS[self.variant]
        words = [
            f"{'with' if getattr(self, field) else 'without'} {words}"
            for field, words in SWITCHES.items()
            if getattr(self, field) != usual[field]
        ]
        words += ["on a shared trunk"] * (self.trunk == "shared")
        words += ["with past discharge"] * self.history
        words += ["refitted with the validation part"] * self.refit
        words += [f"the mean of {self.seeds} seeds"] * (self.seeds > 1)
        name = "plain LSTM" if self.variant == "lstm" else self.variant
        return " ".join([name, " and ".join(words)]).strip()
