"""The command line, one file for each command. Heavy imports wait until a command needs them."""

from vantage.cli import check, demo, evaluate, expand, options, recipes, replay, report, train
from vantage.cli.application import OPTIONS_OF_THE_FILE, command, main

__all__ = ["main"]

# In the order of `vantage --help`.
command("train", context_settings=OPTIONS_OF_THE_FILE)(train.train)
command("check", context_settings=OPTIONS_OF_THE_FILE)(check.check)
command("options")(options.options)
command("eval")(evaluate.evaluate)
command("recipes")(recipes.recipes)
command("report")(report.report)
command("replay")(replay.replay)
command("demo")(demo.demo)
command("expand")(expand.expand)
