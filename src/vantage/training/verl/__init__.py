"""GRPO recipes on veRL's synchronous V1 trainer, on a Ray cluster.

`vantage train CONFIG.yaml --engine verl` calls `launch`, which checks the configuration and starts
the run. `translation` converts our configuration to veRL's options. `driver` is an actor next to
Ray's head and runs `trainer`, which makes the plans. `dataset` and `scoring` run in veRL's workers,
and `rows` writes rows of veRL's store.
"""

from vantage.training.versions import check_version

# Check before importing from veRL, whose names change between versions.
check_version("verl")
