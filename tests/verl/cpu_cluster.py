"""Runs veRL on a CPU for tests: a platform, and seeded generation with transformers.

veRL imports this module in each of its processes (VERL_USE_EXTERNAL_MODULES).
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import types
from contextlib import contextmanager
from pathlib import Path

import ray
import torch

# The torchvision wheel is built for CUDA, and fails to import without these operators.
_operators = torch.library.Library("torchvision", "DEF")
_operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry
from verl.trainer.ppo.checkpoint_callback import CheckpointCallback


class _Device(types.ModuleType):
    """Stands in for torch.cuda."""

    def __init__(self):
        super().__init__("cpu_device")

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(torch.cpu, name, lambda *rest, **named: 0)

    def is_available(self):
        return True

    def mem_get_info(self, *rest):
        return 0, 0

    def get_device_name(self, *rest):
        return "CPU"

    def get_rng_state(self, *rest):
        return torch.get_rng_state()

    def set_rng_state(self, state, *rest):
        torch.set_rng_state(state)

    def current_device(self):
        return "cpu"


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    device_name = "cpu"
    vendor_name = "none"
    device_module = _Device()

    def is_available(self):
        return True

    def current_device(self):
        return "cpu"

    def device_count(self):
        return 1

    def set_device(self, device_index):
        pass

    def synchronize(self, device_index=None):
        pass

    def manual_seed(self, seed):
        torch.manual_seed(seed)

    def manual_seed_all(self, seed):
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings):
        pass

    def empty_cache(self):
        pass

    def get_device_capability(self, device_index=0):
        return None, None

    def communication_backend_name(self):
        return "gloo"

    def visible_devices_envvar(self):
        return "CPU_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg):
        yield

    def profiler_start(self):
        pass

    def profiler_stop(self):
        pass

    def ray_resource_name(self):
        return "GPU"

    def ray_noset_envvars(self):
        return []

    def is_ipc_supported(self):
        return False

    def cudart(self):
        return None


# veRL pins the memory of the reference model, which fails without a GPU.
torch.Tensor.pin_memory = lambda self, *rest: self

import verl.utils.distributed as distributed

_start_group = distributed.initialize_global_process_group_ray


@functools.wraps(_start_group)
def _start_gloo(timeout_second=None, backend=None):
    return _start_group(timeout_second, "cpu:gloo")


distributed.initialize_global_process_group_ray = _start_gloo


@ray.remote(num_cpus=0)
class Server:
    """A model that generates one response at a time.

    As vLLM does, it expands one placeholder per image into the tokens of the image.

    Args:
        path: Directory of the model.
        most: Maximum number of tokens of a response.
        stale: Fault for tests: whether to keep the initial weights.
        apart: Fault for tests: amplitude of a sine that is added to the log-probs.
    """

    def __init__(self, path, most, stale=False, apart=0.0):
        import cpu_cluster  # noqa: F401, since Ray sends this class by value
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

        torch.set_num_threads(1)
        config = AutoConfig.from_pretrained(path)
        has_vision = hasattr(config, "vision_config")
        kind = AutoModelForImageTextToText if has_vision else AutoModelForCausalLM
        self.model = kind.from_pretrained(path, dtype=torch.float32).eval()
        self.processor = None
        if has_vision:
            from transformers import AutoProcessor

            self.processor = AutoProcessor.from_pretrained(path)
        self.most, self.steps, self.turn = most, 0, asyncio.Lock()
        self.stale, self.apart = stale, apart

    async def load_weights(self, weights, steps):
        self.steps = steps
        if self.stale:
            return
        self.model.load_state_dict(
            {name: torch.from_numpy(value) for name, value in weights.items()}, strict=False
        )

    async def generate(
        self, request_id, prompt_ids, sampling_params, image_data=None, video_data=None, **rest
    ):
        from verl.workers.rollout.replica import TokenOutput

        async with self.turn:
            ids, log_probs = self._generate(prompt_ids, sampling_params, image_data)
        fields = {"global_steps": self.steps}
        return TokenOutput(
            token_ids=ids, log_probs=log_probs, stop_reason="completed", extra_fields=fields
        )

    def _generate(self, prompt_ids, sampling_params, images):
        torch.manual_seed(sampling_params.get("seed", 0))
        inputs = {}
        if images:
            inputs |= self.processor.image_processor(images=images, return_tensors="pt")
            prompt_ids = self._expanded(prompt_ids, inputs["image_grid_thw"])
        inputs["input_ids"] = torch.tensor([prompt_ids])
        if images:
            kinds = (inputs["input_ids"] == self.model.config.image_token_id).int()
            inputs["mm_token_type_ids"] = kinds
        suppressed = [
            token for token, bias in sampling_params.get("logit_bias", {}).items() if bias < 0
        ]
        with torch.no_grad():
            output = self.model.generate(
                **inputs,
                do_sample=True,
                temperature=sampling_params["temperature"] or 1.0,
                top_p=1.0,
                top_k=0,
                max_new_tokens=self.most,
                suppress_tokens=suppressed or None,
                output_logits=True,
                return_dict_in_generate=True,
            )
        ids = output.sequences[0, len(prompt_ids) :]
        logits = torch.stack(output.logits, dim=1)[0].float()
        log_probs = logits.log_softmax(-1).gather(1, ids[:, None])[:, 0]
        return ids.tolist(), (log_probs + self.apart * ids.sin()).tolist()

    def _expanded(self, prompt_ids, grids):
        """Repeat each placeholder as often as its image has tokens."""
        image, merge = self.model.config.image_token_id, self.processor.image_processor.merge_size
        counts = iter((grids.prod(-1) // merge**2).tolist())
        return [
            t for token in prompt_ids for t in [token] * (next(counts) if token == image else 1)
        ]

    async def sleep(self):
        pass

    async def wake_up(self):
        pass


def server_name(config, replica):
    """Name of a run's replica, unique since a server of an earlier run may still be stopping."""
    return f"{notes_of(config)}/{replica}"


def notes_of(config):
    """Directory for the files that a test reads."""
    return Path(config.engine_kwargs["hf"]["notes"])


def _adapter():
    from verl.workers.rollout.base import BaseRollout

    class Adapter(BaseRollout):
        """Sends the weights of the actor's worker to the server."""

        async def resume(self, tags):
            pass

        async def release(self):
            pass

        async def update_weights(self, weights, wire_format="named_tensors", **rest):
            arrays = {name: tensor.detach().float().cpu().numpy() for name, tensor in weights}
            rank, steps = int(os.environ["RANK"]), rest.get("global_steps")
            server = ray.get_actor(server_name(self.config, rank))
            await server.load_weights.remote(arrays, steps)
            if rank == 0:
                torch.save(arrays, notes_of(self.config) / f"weights-{steps}.pt")

    return Adapter


def _replica():
    from verl.workers.rollout.replica import RolloutReplica

    class Replica(RolloutReplica):
        async def launch_servers(self):
            name = server_name(self.config, self.replica_rank)
            named = Server.options(name=name)
            hf = self.config.engine_kwargs["hf"]
            faults = {fault: hf[fault] for fault in ("stale", "apart") if fault in hf}
            server = named.remote(self.model_config.path, self.config.response_length, **faults)
            self.servers = [server]
            self._server_handle, self._server_address = server, name

    return Replica


import verl.workers.rollout.base as rollouts
from verl.workers.rollout.replica import RolloutReplicaRegistry

RolloutReplicaRegistry.register("hf", _replica)
rollouts._ROLLOUT_REGISTRY[("hf", "async")] = "cpu_cluster.Adapter"


def __getattr__(name):
    if name == "Adapter":
        return _adapter()
    if name == "SeededAgentLoop":
        return _agent_loop()
    raise AttributeError(name)


@functools.cache
def _agent_loop():
    from vantage.training.verl.agent import OneTurn

    class SeededAgentLoop(OneTurn):
        """Seeds each response by its prompt and rollout number, so that runs can be compared."""

        async def run(self, sampling_params, **named):
            key = f"{named['uid']}/{named['session_id']}".encode()
            seed = int.from_bytes(hashlib.sha256(key).digest()[:4], "big")
            return await super().run({**sampling_params, "seed": seed}, **named)

    return SeededAgentLoop


class Watching(CheckpointCallback):
    """Saves the rollouts and the plan of each batch, and the rows in the store at the end."""

    def __init__(self, config):
        super().__init__(config)
        folder = notes_of(config.actor_rollout_ref.rollout)

        import transfer_queue as tq

        from vantage.training.verl import rows, trainer

        kind = trainer.VerlTrainer
        balance, fit = kind._balance_batch, kind.fit

        def noted_balance(self, batch, *rest, **named):
            data = tq.kv_batch_get(keys=batch.keys, partition_id="train")
            fields = [rows.fields_of(data, index) for index in range(len(batch))]
            balanced = balance(self, batch, *rest, **named)
            names = ("prompts", "responses", "multi_modal_inputs", "rollout_log_probs")
            saved = {
                "rows": [{name: row[name] for name in names if name in row} for row in fields],
                "generated": self.batch.generated,
                "samples": self.batch.plan.samples,
                "layout": self.batch.layout,
            }
            torch.save(saved, folder / f"batch-{self.global_steps}.pt")
            return balanced

        def noted_fit(self, *rest):
            fit(self, *rest)
            torch.save(tq.kv_list(), folder / "remaining.pt")

        kind._balance_batch, kind.fit = noted_balance, noted_fit
