"""Names that changed before version 0.1: an old one is refused with the new one (docs/names.md)."""

# Options of a configuration.
OPTIONS = {
    "run.keep": "run.keep_checkpoints",
    "run.silent_batches": "run.max_silent_batches",
    "batch.forward": "batch.micro_batch",
    "variants.count": "variants.prompts",
    "data.long_prompts": "data.on_long_prompt",
}
RECIPES = {"compose": "custom"}
OPTIONS_OF_RECIPES = {"keep": "fraction", "composition": "ordering"}
# Command-line options, by command.
FLAGS = {
    "expand": {
        "--out": "--output",
        "--variants": "--rewrites",
        "--template": "--built-in",
        "--judge": "--verify",
        "--no-judge": "--no-verify",
    },
}
