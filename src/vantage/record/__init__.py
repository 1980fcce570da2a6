"""The record of a run: every rollout, the plan, prompts, images and times.

An engine gives a `Recorder` one `Step` for each rollout batch; report and replay read a `Record`.
The files are parquet, in `record/` of the run's directory:

    about.json                     engine, recipe, seed, settings
    steps/00000012/batch.parquet   one row: times, metrics, counts
    steps/00000012/rollouts.parquet   one row per rollout
    steps/00000012/samples.parquet    one row per sample of the plan
    steps/00000012/prompts.parquet    one row per prompt
    validations/00000010.parquet   results on held-out questions after 10 rollout batches
    pictures/<digest>.webp         each image once, named by the digest of its content

Any tool can read `record/steps/*/rollouts.parquet` as one table. The directory of a step is
written atomically.
"""

from vantage.record.bounds import Keep
from vantage.record.reading import Record
from vantage.record.step import About, Step
from vantage.record.writing import Recorder

__all__ = ["About", "Keep", "Record", "Recorder", "Step"]
