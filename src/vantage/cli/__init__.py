"""The command line, one file per command. Commands import heavy packages only when they run."""

from vantage.cli import check, demo, evaluate, expand, options, recipes, replay, report, train
from vantage.cli.application import OPTIONS_OF_THE_FILE, command, main

__all__ = ["main"]

# Registration order is the order in `vantage --help`.
command("train", context_settings=OPTIONS_OF_THE_FILE)(train.train)
command("check", context_settings=OPTIONS_OF_THE_FILE)(check.check)
command("options")(options.options)
command("eval")(evaluate.evaluate)
command("recipes")(recipes.recipes)
command("report")(report.report)
command("replay")(replay.replay)
command("demo")(demo.demo)
command("expand")(expand.expand)
