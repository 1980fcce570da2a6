"""A real server of vLLM beside the trainer, as with `vllm_mode: server`.

Weights travel by NCCL, which needs GPUs: only the first batch is sampled from what is trained.
"""

import on_a_cpu
import pytest
import sampling
import training_cases
from requests import Session
from trl.generation.vllm_client import VLLMClient

FAMILY = "Qwen2.5-VL"
CLOSE = 1e-4


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sampling.saved(FAMILY, tmp_path_factory.mktemp("model"))[0]


@pytest.fixture(scope="module")
def url(model, tmp_path_factory):
    """Address of a server as docs/scale.md starts it."""
    options = ["--enable-scale-out", "--logprobs-mode", "processed_logprobs"]
    options += ["--max-model-len", "512"]
    options += ["--limit-mm-per-prompt", '{"image": 4}']
    with on_a_cpu.server(model, tmp_path_factory.mktemp("site"), *options) as address:
        yield address


@pytest.fixture
def posted(monkeypatch):
    """Paths that were posted to, and how they were answered; weights stay where they are."""
    paths, post = [], Session.post

    def noting(self, url, *args, **kwargs):
        answer = post(self, url, *args, **kwargs)
        paths.append((url.rpartition("/")[2], answer.status_code))
        return answer

    monkeypatch.setattr(Session, "post", noting)
    monkeypatch.setattr(VLLMClient, "init_communicator", lambda self, device=None: None)
    monkeypatch.setattr(VLLMClient, "update_named_params", lambda self, about, named: list(named))
    return paths


@pytest.mark.parametrize("options", [{}, sampling.SHARE], ids=["grpo", "shared"])
def test_the_server_samples_from_what_is_trained(options, model, url, posted, tmp_path):
    settings = {**sampling.TOKENS, **options, "max_completion_length": 16}
    args = training_cases.config(
        tmp_path, use_vllm=True, vllm_mode="server", vllm_server_base_url=url, **settings
    )
    rows = training_cases.mixed_rows(8, live=tuple(range(8))).map(sampling.larger)
    trainer = sampling.Watched(model, training_cases.Reward(), args, rows)
    trainer.train()
    (seen,) = trainer.rows
    assert {images for images, _ in seen} == {0, 1, 2}
    assert max(apart for _, apart in seen) < CLOSE
    assert {("reset_prefix_cache", 200), ("reset_encoder_cache", 200)} <= set(posted)
