"""Names that changed before version 0.1: an old one is refused with the new one (docs/names.md)."""

# Options of a configuration.
OPTIONS = {
    "run.keep_checkpoints": "run.keep_checkpoints",
    "run.silent_batches": "run.max_silent_batches",
    "batch.micro_batch": "batch.micro_batch",
    "variants.prompts": "variants.prompts",
    "data.on_long_prompt": "data.on_long_prompt",
}
RECIPES = {"compose": "custom"}
OPTIONS_OF_RECIPES = {"keep": "fraction", "ordering": "ordering"}
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
