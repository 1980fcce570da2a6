"""What a run leaves behind: every rollout, the plan made of it, prompts, pictures and times.

An engine feeds a `Recorder` one `Step` a rollout batch; report and replay read a `Record`.
The files are parquet, in `record/` of the run's directory:

    about.json                     engine, recipe, seed, settings
    steps/00000012/batch.parquet   one row: times, metrics, counts
    steps/00000012/rollouts.parquet   a row a rollout
    steps/00000012/samples.parquet    a row a sample of the plan
    steps/00000012/prompts.parquet    a row a prompt
    validations/00000010.parquet   results on held-out questions after 10 rollout batches
    pictures/<digest>.webp         each picture once, under the digest of its content

so that `record/steps/*/rollouts.parquet` is a table to any tool. The directory of a step
appears at once, whole, or not at all.
"""

from vantage.record.bounds import Keep
from vantage.record.reading import Record
from vantage.record.step import About, Step
from vantage.record.writing import Recorder

__all__ = ["About", "Keep", "Record", "Recorder", "Step"]
