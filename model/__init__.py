"""Train one Dom-ST network per watershed of a store, and simulate discharge with it.

train       train the heads of a store and write a run directory
predict     simulate with the heads of a run, on a longer record or other years
load_head   load one trained head, as a TrainedHead
evaluate    metrics of a simulated discharge
Settings    every number that shapes a training
Run         a run directory: metrics, scores, predictions
"""

from typing import TYPE_CHECKING

from pipeline.lazy import export

if TYPE_CHECKING:
    from model.evaluation.metrics import evaluate as evaluate
    from model.jobs.heads import TrainedHead as TrainedHead
    from model.jobs.heads import load_head as load_head
    from model.jobs.predict import predict as predict
    from model.jobs.train import train as train
    from model.output.run_directory import Run as Run
    from model.settings import Settings as Settings

export(
    __name__,
    {
        "Run": "model.output.run_directory",
        "Settings": "model.settings",
        "TrainedHead": "model.jobs.heads",
        "evaluate": "model.evaluation.metrics",
        "load_head": "model.jobs.heads",
        "predict": "model.jobs.predict",
        "train": "model.jobs.train",
    },
)
