"""The measurement on a GPU, tried without one: every part runs, and none costs another."""

import json
import math
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from gpu import policy, pretrained, run, wheels
from gpu.parts import attention, learns
from gpu.results import Result, Skipped, measured, read
from qwen import qwen

from vantage.training.trl.attention import Layout, packed

COMMAND = Path(run.__file__)


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """What the whole command leaves behind."""
    folder = tmp_path_factory.mktemp("gpu") / "out"
    command = [sys.executable, str(COMMAND), "--tiny", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    log = folder / "log.txt"
    assert done.returncode == 0, done.stdout + done.stderr + log.read_text()[-3000:]
    return folder


@pytest.fixture(scope="module")
def found(out) -> dict[str, dict[str, Result]]:
    """Part -> case -> result."""
    parts = defaultdict(dict)
    for result in read(out / "results.jsonl"):
        parts[result.part][result.case] = result
    return parts


def numbers(found, part: str, case: str) -> dict[str, float]:
    return found[part][case].numbers


def test_every_part_has_finite_numbers(found):
    assert list(found) == list(run.PARTS)
    for cases in found.values():
        assert any(result.numbers for result in cases.values())
        for result in cases.values():
            assert not result.failed
            assert all(map(math.isfinite, result.numbers.values()))


def test_what_needs_a_gpu_says_so(found):
    skipped = {r.case.partition(": ")[2]: r.skipped for r in found["attention"].values()}
    assert skipped["rows, varlen"] == "varlen_attn needs a GPU"
    assert skipped["packs"] == ""
    assert skipped["flex_attention"] == "flex_attention has no backward on a CPU"


def test_when_and_on_what_is_told(out):
    about = json.loads((out / "about.json").read_text())
    assert about["chip"] == "CPU"
    assert about["tiny"] is True
    assert about["torch"] == torch.__version__
    assert about["date"] in (out / "results.txt").read_text()


def test_16_bits_keep_weights_where_they_are(found):
    kept = numbers(found, "moves", "AdamW, lr 1e-06, bfloat16")
    moved = numbers(found, "moves", "AdamW, lr 1e-06, float32")
    assert kept["share of a norm moved"] == 0
    assert kept["share of a matrix moved"] < 0.1
    assert moved["share of a norm moved"] == 1
    assert moved["share of a matrix moved"] > 0.99


def test_packs_are_rows_but_for_rounding(found):
    exact = numbers(found, "parity", "float32: packed, rows together")
    planted = numbers(found, "parity", "float32: packed, off by one, rows together")
    rounded = numbers(found, "parity", "bfloat16: packed, float32")
    assert exact["max"] < 1e-5
    assert planted["mean"] > 1e-3
    assert 1e-5 < rounded["mean"] < planted["mean"]


def test_packs_leave_work_out(found):
    (speed,) = (r.numbers for case, r in found["speed"].items() if case.startswith("P "))
    # 8 rows of 13 + 8 tokens against 12 + 8 x 8 tokens in one pack
    assert 0.35 < speed["packed PFLOP"] / speed["TRL PFLOP"] < 0.55
    assert speed["losses apart"] < 1e-5


def test_a_whole_training_moves_the_weights(found):
    trained = numbers(found, "train", "two batches of share-shuffle")
    assert (trained["batches"], trained["rollouts"]) == (2, 2 * 4 * 2 * 2)
    assert trained["share of weights moved"] > 0.9


def test_a_part_that_fails_costs_no_other(tmp_path, monkeypatch):
    monkeypatch.setitem(run.PARTS, "unheard-of", 60)
    results = run.run(["unheard-of", "moves"], tmp_path, tiny=True)
    first, *rest = results
    assert (first.part, first.case) == ("unheard-of", "")
    assert "ended with 1" in first.failed
    assert "No module named 'gpu.parts.unheard-of'" in (tmp_path / "log.txt").read_text()
    assert [(r.part, bool(r.numbers), r.failed) for r in rest] == [("moves", True, "")] * 2
    assert "FAILED" in (tmp_path / "results.txt").read_text()


def test_a_part_ends_when_its_time_is_up(tmp_path, monkeypatch):
    monkeypatch.setitem(run.PARTS, "moves", 0.01 / run.SLACK)
    (result,) = run.run(["moves"], tmp_path, tiny=True)
    assert result.failed == "stopped after 0.01 s"


def test_parts_for_which_no_time_is_left_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "TOTAL", 0)
    results = run.run(["attention", "moves"], tmp_path, tiny=True)
    assert [(r.part, r.skipped) for r in results] == [
        ("attention", "no time left of 0 s"),
        ("moves", "no time left of 0 s"),
    ]


def test_an_unknown_part_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run.py", "--parts", "speed,quickness"])
    with pytest.raises(SystemExit):
        run.main()
    assert "no part quickness: the parts are attention, moves" in capsys.readouterr().err


def test_a_case_that_fails_costs_no_other():
    def breaks():
        raise ValueError("too large")

    def lacks():
        raise Skipped("no such chip")

    cases = [("one", breaks), ("two", lacks), ("three", lambda: {"ms": 2.0})]
    one, two, three = measured("part", cases)
    assert (one.case, one.failed) == ("one", "ValueError: too large")
    assert (two.case, two.skipped) == ("two", "no such chip")
    assert (three.case, three.numbers) == ("three", {"ms": 2.0})


def test_pairs_are_those_of_causal_attention():
    shape = attention.Shape(P=2, R=1, G=2)
    assert shape.packed_pairs == 3 + 2 * (2 + 1)
    assert shape.row_pairs == 2 * (1 + 2 + 3)


def test_work_is_counted_by_tokens_and_pairs():
    model = qwen(300)
    text = model.model.language_model
    width = model.config.get_text_config().hidden_size
    tokens_BTH = torch.zeros(2, 5, width)
    layout = Layout(((1, (2, 2)),))  # 1 + 2 x (2 + 3) pairs
    with policy.Counted(model) as counted:
        with packed(layout, model.config.get_text_config()):
            text(inputs_embeds=tokens_BTH[:1], attention_mask=torch.ones(1, 5, dtype=torch.long))
        text(inputs_embeds=tokens_BTH)
        with torch.no_grad():  # log-probs before the update
            text(inputs_embeds=tokens_BTH)
    text(inputs_embeds=tokens_BTH)
    assert (counted.tokens, counted.pairs, counted.patches) == (15, 11 + 2 * 15, 0)
    weights = sum(p.numel() for p in text.layers.parameters())
    head = model.lm_head.weight.numel()
    assert counted.flop(scored=4) == 6 * weights * 15 + 12 * 2 * width * 41 + 6 * head * 4


def varlen_by_hand(q, k, v, ends_q, ends_k, longest_q, longest_k):
    """Sequences one by one; the last query sees the last key, as in FlashAttention."""
    sizes_q, sizes_k = (ends.diff().tolist() for ends in (ends_q, ends_k))
    assert (longest_q, longest_k) == (max(sizes_q), max(sizes_k))
    outs = []
    for one, keys, values in zip(q.split(sizes_q), k.split(sizes_k), v.split(sizes_k), strict=True):
        later = torch.ones(len(one), len(keys)).triu(1 + len(keys) - len(one)).bool()
        scores = torch.einsum("qhd,khd->hqk", one, keys) / one.shape[-1] ** 0.5
        weights = scores.masked_fill(later, -torch.inf).softmax(-1)
        outs.append(torch.einsum("hqk,khd->qhd", weights, values))
    return torch.cat(outs)


@pytest.mark.parametrize("way", [attention.packs, attention.varlen_rows])
def test_variable_lengths_give_what_the_dense_mask_gives(way, monkeypatch):
    monkeypatch.setattr(attention, "varlen", lambda: varlen_by_hand)
    shape = attention.Shape(P=5, R=7, G=3, H=2, D=4)
    work = attention.Work(shape)
    inputs = work.rows_GTHD if way in attention.IN_ROWS else work.pack_LHD
    expected = work.told(attention.dense(shape), work.pack_LHD)
    for one, other in zip(work.told(way(shape), inputs), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_model_that_did_not_come_along_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "PACKAGES", ("no_such_package", "torch"))
    with pytest.raises(Skipped, match=r"no no-such-package here: see benchmarks/gpu/README\.md"):
        pretrained.smollm2(tmp_path)


def test_the_last_number_of_a_response_is_its_answer():
    texts = ["42", "17 + 25 is 42.", "42, not 41", "forty-two", [{"content": "so 42"}]]
    assert learns.right(texts, ["42"] * 5) == [1, 1, 0, 0, 1]


def test_before_and_after_are_the_first_and_the_last_batches():
    told = learns.ends(np.array([0.0, 0.2, 0.5, 0.9, 0.7]))
    assert told["reward before"] == pytest.approx(0.1)
    assert told["error before"] == pytest.approx(0.1)  # 0.1414 / sqrt(2)
    assert told["reward after"] == pytest.approx(0.8)
    assert learns.ends(np.array([0.25, 0.5])) == {"reward before": 0.25, "reward after": 0.5}


def test_no_addition_is_asked_twice(tmp_path):
    learns.write_questions(tmp_path / "train.jsonl", 896)
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert len({row["question"] for row in rows}) == 896 == 28 * 32
    terms = [row["question"].partition("?")[0].split()[2:5:2] for row in rows]
    assert [row["answer"] for row in rows] == [str(int(a) + int(b)) for a, b in terms]


def test_pieces_of_a_file_are_the_file(tmp_path):
    file = tmp_path / "model.whl"
    file.write_bytes(bytes(range(10)))
    pieces = wheels.split(file, 4)
    assert [piece.name for piece in pieces] == [f"model.whl.0{n}" for n in range(3)]
    assert b"".join(piece.read_bytes() for piece in sorted(tmp_path.iterdir())) == bytes(range(10))
    assert wheels.split(pieces[0], 4) == [pieces[0]]
