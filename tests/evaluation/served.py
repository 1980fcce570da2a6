"""A saved model behind OpenAI's chat protocol, served with transformers."""

import base64
import io
import threading

import torch
from loopback import Loopback
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor


def _shown(part: dict) -> dict:
    if part["type"] == "text":
        return part
    encoded = part["image_url"]["url"].partition(",")[2]
    return {"type": "image", "image": Image.open(io.BytesIO(base64.b64decode(encoded)))}


class Served(Loopback):
    """Samples one response to each request, with the seed of the request."""

    def __init__(self, path):
        super().__init__()
        self._model = AutoModelForImageTextToText.from_pretrained(path).eval()
        self._processor = AutoProcessor.from_pretrained(path)
        self._generating = threading.Lock()

    def reply(self, body):
        turns = [
            {**turn, "content": [_shown(part) for part in turn["content"]]}
            for turn in body["messages"]
        ]
        options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
        inputs = self._processor.apply_chat_template(turns, add_generation_prompt=True, **options)
        with self._generating, torch.no_grad():
            torch.manual_seed(body["seed"])
            ids = self._model.generate(
                **inputs,
                do_sample=True,
                temperature=body["temperature"],
                top_k=0,
                max_new_tokens=body["max_tokens"],
            )[0, inputs["input_ids"].shape[1] :]
        said = self._processor.tokenizer.decode(ids, skip_special_tokens=True)
        return str(body["seed"]), said or " "
