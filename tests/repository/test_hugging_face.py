"""What config.json and its neighbours say becomes [pipeline], or nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from inference_service.repository.contents import scan
from inference_service.repository.hugging_face import pipeline_of

TEXT: dict[str, Any] = {"tokenizer.json": {}}


def declared(files: Mapping[str, Any]) -> dict[str, Any] | None:
    return pipeline_of(files.get, lambda name: name in files)


def picture(**preprocessor: Any) -> dict[str, Any] | None:
    normal = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
    return declared(
        {
            "config.json": {"architectures": ["ResNetForImageClassification"]},
            "preprocessor_config.json": normal | preprocessor,
        }
    )


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"size": {"height": 224, "width": 192}}, ([224, 192], "stretch", 1.0)),
        ({"size": 224}, ([224, 224], "stretch", 1.0)),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
         ([224, 224], "crop", 0.875)),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, ([224, 224], "crop", 0.875)),
        ({"size": {"shortest_edge": 224}}, ([224, 224], "crop", 1.0)),
        ({"size": 256, "crop_size": 224, "do_center_crop": False}, ([256, 256], "stretch", 1.0)),
    ],
)  # fmt: skip
def test_sizes_of_pictures(said: dict[str, Any], wanted: tuple[Any, ...]) -> None:
    found = picture(**said)
    assert found is not None
    assert (found["size"], found["resize"], found["crop"]) == wanted


@pytest.mark.parametrize(
    ("said", "mean", "std"),
    [
        ({}, 0.5, 0.25),
        ({"do_normalize": False}, 0.0, 1.0),
        ({"do_rescale": False}, 0.5 / 255, 0.25 / 255),  # of 0 to 255
        ({"rescale_factor": 1 / 127.5}, 0.25, 0.125),
    ],
)
def test_numbers_of_pictures(said: dict[str, Any], mean: float, std: float) -> None:
    found = picture(size=8, **said)
    assert found is not None
    assert found["mean"] == pytest.approx([mean] * 3)
    assert found["std"] == pytest.approx([std] * 3)


@pytest.mark.parametrize(
    "said", [{}, {"size": "large"}, {"size": 8, "image_mean": [1]}, {"size": 8, "rescale_offset": True},
             {"size": 8, "crop_size": 16}, {"size": 8, "do_resize": False}],
)  # fmt: skip
def test_what_is_not_said_is_not_made_up(said: dict[str, Any]) -> None:
    assert picture(**said) is None


@pytest.mark.parametrize(
    ("config", "more", "wanted"),
    [
        ({"max_position_embeddings": 512}, {}, {"max_tokens": 512}),
        ({"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}, {},
         {"max_tokens": 512, "pad_id": 1}),
        ({"max_position_embeddings": 512}, {"tokenizer_config.json": {"model_max_length": 128}},
         {"max_tokens": 128}),
        ({}, {"tokenizer_config.json": {"model_max_length": 10**30}}, {}),
        ({"id2label": {"0": "a", "1": "b"}}, {}, {"labels": ["a", "b"]}),
        ({"id2label": {"0": "a", "2": "b"}}, {}, {}),
        ({"problem_type": "multi_label_classification"}, {}, {"scores": "independent"}),
        ({"num_labels": 1}, {}, {"kind": "reranking"}),
        ({"id2label": {"0": "Entailment", "1": "not_entailment"}}, {},
         {"kind": "zero-shot-classification", "labels": ["Entailment", "not_entailment"]}),
    ],
)  # fmt: skip
def test_texts(config: dict[str, Any], more: dict[str, Any], wanted: dict[str, Any]) -> None:
    files = {"config.json": {"architectures": ["XForSequenceClassification"], **config}}
    found = declared(files | TEXT | more)
    assert found == {"kind": "text-classification", "tokenizer": "tokenizer.json"} | wanted


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"config.json": {}},
        {"config.json": {"architectures": ["LlamaForCausalLM"]}, **TEXT},
        {"config.json": {"architectures": ["BertForSequenceClassification"]}},  # no tokenizer
        {"config.json": {"architectures": "BertModel", "id2label": 3}},
    ],
)
def test_a_folder_that_says_too_little_has_no_pipeline(files: dict[str, Any]) -> None:
    assert declared(files) is None


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({}, {"pooling": "none", "output": "sentence_embedding"}),  # where the graph has it
        ({"1_Pooling/config.json": {"pooling_mode_mean_tokens": True}}, {"pooling": "mean"}),
        ({"1_Pooling/config.json": {"pooling_mode_lasttoken": True}}, {"pooling": "last"}),
    ],
)
def test_how_one_vector_is_made_of_a_text(more: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = declared({"config.json": {"architectures": ["BertModel"]}, **TEXT, **more})
    assert found == {"kind": "text-embedding", **wanted}


@pytest.mark.parametrize("place", ["model_optimized.onnx", "onnx/model_quantized.onnx"])
def test_the_only_graph_of_a_hub_s_folder_may_have_any_name(tmp_path: Path, place: str) -> None:
    folder = folder_with(tmp_path, place)
    (found,) = scan(tmp_path)
    assert found.versions == {1: folder / place}


def test_one_of_several_graphs_is_to_be_chosen_by_its_name(tmp_path: Path) -> None:
    folder_with(tmp_path, "onnx/model_fp16.onnx", "onnx/model_q4.onnx")
    (found,) = scan(tmp_path)
    assert found.problem.endswith(
        "rename the one of 'onnx/model_fp16.onnx', 'onnx/model_q4.onnx' that is to be served to "
        "model.onnx"
    )


def test_a_folder_without_config_json_is_none_of_a_hub_s(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "weights.onnx")
    (folder / "config.json").unlink()
    (found,) = scan(tmp_path)
    assert "expected bert/<version>/model.onnx" in found.problem


def folder_with(repository: Path, *graphs: str) -> Path:
    folder = repository / "bert"
    for graph in graphs:
        (folder / graph).parent.mkdir(parents=True, exist_ok=True)
        (folder / graph).write_bytes(b"")
    (folder / "config.json").write_text("{}")
    return folder
