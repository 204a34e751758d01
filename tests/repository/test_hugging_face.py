"""What config.json and its neighbours say becomes [pipeline], or nothing."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from inference_service.repository.contents import scan
from inference_service.repository.hugging_face import pipeline_of
from inference_service.repository.hugging_face_says import NotSaid

SOUND: dict[str, Any] = {
    "preprocessor_config.json": {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000,
        "do_normalize": True,
    }
}  # fmt: skip
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
        ({"size": {"height": 224, "width": 192}}, {"size": [224, 192], "resize": "stretch"}),
        ({"size": 224}, {"size": [224, 224], "resize": "stretch"}),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
         {"size": [224, 224], "first": 256}),
        ({"size": {"shortest_edge": 256}, "crop_size": 272}, {"size": [272, 272], "first": 256}),
        ({"size": {"height": 256, "width": 250}, "crop_size": 224},
         {"size": [224, 224], "first": [256, 250]}),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, {"size": [224, 224], "first": 256}),
        ({"size": 256, "crop_size": 224, "do_center_crop": False},
         {"size": [256, 256], "resize": "stretch"}),
        ({"size": 224, "image_processor_type": "ConvNextImageProcessor"},
         {"size": [224, 224], "first": 256}),
        ({"size": {"shortest_edge": 384}, "image_processor_type": "ConvNextImageProcessorFast"},
         {"size": [384, 384], "resize": "stretch"}),
        ({"size": 256, "crop_size": 224, "feature_extractor_type": "CLIPFeatureExtractor"},
         {"size": [224, 224], "first": 256}),
        ({"size": {"shortest_edge": 224}, "crop_size": 224,
          "image_processor_type": "LevitImageProcessor"}, {"size": [224, 224], "first": 256}),
        ({"size": {"shortest_edge": 224}, "crop_size": 224, "crop_pct": 0.9,
          "image_processor_type": "PoolFormerImageProcessor"}, {"size": [224, 224], "first": 248}),
        ({"size": 224, "image_processor_type": "PvtImageProcessor"},
         {"size": [224, 224], "resize": "stretch"}),
        ({"size": 224, "crop_size": 224, "image_processor_type": "PoolFormerImageProcessor"},
         {"size": [224, 224], "first": 248}),
    ],
)  # fmt: skip
def test_sizes_of_pictures(said: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = picture(**said)
    assert found is not None
    assert {name: found.get(name) for name in ("size", "resize", "first")} == (
        {"resize": None, "first": None} | wanted
    )


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({}, "bilinear"),
        ({"resample": 3}, "bicubic"),
        ({"image_processor_type": "BeitImageProcessor"}, "bicubic"),
        ({"image_processor_type": "BeitImageProcessorPil"}, "bicubic"),
        ({"image_processor_type": "EfficientNetImageProcessor"}, "nearest"),
    ],
)
def test_filters_of_pictures(said: dict[str, Any], wanted: str) -> None:
    found = picture(size={"height": 8, "width": 8}, **said)
    assert found is not None
    assert (found["interpolation"], found["decoding"]) == (wanted, "exact")


def test_channels_are_in_the_order_that_the_preprocessor_says() -> None:
    found = picture(
        size={"shortest_edge": 8}, crop_size=8, image_processor_type="MobileViTImageProcessor"
    )
    assert found is not None
    assert (found["channels"], found["mean"], found["std"]) == ("bgr", [0.0] * 3, [1.0] * 3)


@pytest.mark.parametrize(
    ("said", "mean", "std"),
    [
        ({}, 0.5, 0.25),
        ({"do_normalize": False}, 0.0, 1.0),
        ({"do_rescale": False}, 0.5 / 255, 0.25 / 255),  # of 0 to 255
        ({"rescale_factor": 1 / 127.5}, 0.25, 0.125),
        ({"rescale_factor": 1 / 127.5, "rescale_offset": True}, 0.75, 0.125),  # of -1 to 1
        ({"image_mean": 0.5}, 0.5, 0.25),
        ({"image_processor_type": "EfficientNetImageProcessor"}, 0.5, 0.0625),  # divides twice
    ],
)
def test_numbers_of_pictures(said: dict[str, Any], mean: float, std: float) -> None:
    found = picture(size=8, **said)
    assert found is not None
    assert found["mean"] == pytest.approx([mean] * 3)
    assert found["std"] == pytest.approx([std] * 3)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "size is None"),
        ({"size": "large"}, "size is large"),
        ({"size": 8, "image_mean": [1]}, "image_mean is [1]"),
        ({"size": 8, "image_std": None}, "image_std is None"),
        ({"size": {"shortest_edge": 8}}, "the shorter side is given, and nothing is cut"),
        ({"size": 8, "do_resize": False}, "do_resize is off"),
        ({"size": 8, "resample": 4}, "resample is 4"),
        ({"size": 8, "rescale_factor": 0}, "rescale_factor is 0"),
        ({"size": 8, "image_processor_type": "NewImageProcessor"}, "names NewImageProcessor"),
    ],
)
def test_what_is_not_said_is_not_made_up(said: dict[str, Any], why: str) -> None:
    with pytest.raises(NotSaid, match=re.escape(why)):
        picture(**said)


@pytest.mark.parametrize(
    ("config", "scores"),
    [
        ({}, None),
        ({"problem_type": "multi_label_classification"}, "independent"),
        ({"problem_type": "single_label_classification"}, None),
        ({"id2label": {"0": "cat"}}, "independent"),
    ],
)
def test_scores_of_pictures(config: dict[str, Any], scores: str | None) -> None:
    found = declared(
        {
            "config.json": {"architectures": ["ViTForImageClassification"], **config},
            "preprocessor_config.json": {"size": 8, "image_mean": 0.5, "image_std": 0.5},
        }
    )
    assert found is not None
    assert found.get("scores") == scores


@pytest.mark.parametrize(
    ("config", "more", "wanted"),
    [
        ({"max_position_embeddings": 512}, {}, {"max_tokens": 512}),
        ({"n_positions": 512}, {}, {"max_tokens": 512}),
        ({"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}, {},
         {"max_tokens": 512, "pad_id": 1}),
        ({"max_position_embeddings": 512}, {"tokenizer_config.json": {"model_max_length": 128}},
         {"max_tokens": 128}),
        ({}, {"tokenizer_config.json": {"model_max_length": 10**30}}, {}),
        ({"id2label": {"0": "a", "1": "b"}}, {}, {"labels": ["a", "b"]}),
        ({"id2label": {"0": "a", "2": "b"}}, {}, {}),
        ({}, {"tokenizer_config.json": {"truncation_side": "left"}}, {"truncation_side": "left"}),
        ({}, {"tokenizer_config.json": {"do_lower_case": False, "tokenizer_class": "BertTokenizer"}},
         {"lower": False}),
        ({}, {"tokenizer_config.json": {"do_lower_case": True, "tokenizer_class": "T5Tokenizer"}}, {}),
        ({}, {"sentence_bert_config.json": {"do_lower_case": True}}, {"lower": True}),
        ({"max_position_embeddings": 512}, {
            "sentence_bert_config.json": {"max_seq_length": 256},
            "tokenizer_config.json": {"model_max_length": 128}}, {"max_tokens": 256}),
        ({"num_labels": 3}, {}, {"labels": ["LABEL_0", "LABEL_1", "LABEL_2"]}),
        ({"problem_type": "multi_label_classification"}, {}, {"scores": "independent"}),
        ({"problem_type": "regression"}, {}, {"scores": "raw"}),
        ({"function_to_apply": "sigmoid"}, {}, {"scores": "independent"}),
        ({"num_labels": 1}, {},
         {"kind": "reranking", "labels": ["LABEL_0"], "scores": "independent"}),
        ({"num_labels": 1, "problem_type": "regression"}, {},
         {"kind": "reranking", "labels": ["LABEL_0"], "scores": "raw"}),
        ({"id2label": {"0": "Entailment", "1": "not_entailment"}}, {},
         {"kind": "zero-shot-classification", "labels": ["Entailment", "not_entailment"]}),
    ],
)  # fmt: skip
def test_texts(config: dict[str, Any], more: dict[str, Any], wanted: dict[str, Any]) -> None:
    files = {"config.json": {"architectures": ["XForSequenceClassification"], **config}}
    found = declared(files | TEXT | more)
    usual = {"labels": ["LABEL_0", "LABEL_1"]} if "id2label" not in config else {}
    told = {"kind": "text-classification", "tokenizer": "tokenizer.json"}
    assert found == told | usual | wanted


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"config.json": {}},
        {"config.json": {"architectures": "BertModel", "id2label": 3}},
    ],
)
def test_a_folder_that_says_too_little_has_no_pipeline(files: dict[str, Any]) -> None:
    assert declared(files) is None


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"config.json": {"architectures": ["LlamaForCausalLM"]}, **TEXT},
         "LlamaForCausalLM writes its answer token by token"),
        ({"config.json": {"architectures": ["BertForSequenceClassification"]}},
         "there is no tokenizer.json beside config.json; transformers makes it of other files: "
         '`AutoTokenizer.from_pretrained(".").save_pretrained(".")`'),
        ({"config.json": {"architectures": ["BertForMaskedLM"]}, **TEXT},
         "no task here does what BertForMaskedLM is for; a pipeline.py beside the model can"),
        ({"config.json": {"architectures": ["BertModel"]}}, "there is no tokenizer.json"),
        ({"config.json": {"architectures": ["ViTModel"]}, "preprocessor_config.json": {}},
         "what ViTModel is for"),
        ({"config.json": {"architectures": ["CLIPModel"], "text_config": {}, "vision_config": {}},
          **TEXT}, "CLIPModel takes texts and pictures at once"),
        ({"config.json": {"architectures": ["ASTForAudioClassification"]},
          "preprocessor_config.json": {"sampling_rate": 16000,
                                       "feature_extractor_type": "ASTFeatureExtractor"}},
         "names ASTFeatureExtractor, which is not known here"),
        ({"config.json": {"architectures": ["Wav2Vec2ForXVector"]}, **SOUND},
         "what Wav2Vec2ForXVector is for"),
        ({"config.json": {"architectures": ["Wav2Vec2ForCTC"]}, **SOUND},
         "there is no vocab.json that tells the letters"),
        ({"config.json": {"architectures": ["Wav2Vec2ForCTC"]}, **SOUND,
          "vocab.json": {"eng": {"a": 1}}}, "letters of several languages"),
        ({"config.json": {"architectures": ["ViTForImageClassification"]}},
         "there is no preprocessor_config.json"),
    ],
)  # fmt: skip
def test_why_a_folder_has_no_pipeline_is_told(files: dict[str, Any], why: str) -> None:
    with pytest.raises(NotSaid, match=re.escape(why)):
        declared(files)


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"config.json": {"architectures": ["HubertForSequenceClassification"],
                          "id2label": {"0": "yes", "1": "no"}}},
         {"kind": "audio-classification", "rate": 16000, "normalise": True,
          "labels": ["yes", "no"]}),
        ({"config.json": {"architectures": ["Wav2Vec2ForCTC"]}, "vocab.json": {"<pad>": 0, "|": 1}},
         {"kind": "ctc-transcription", "rate": 16000, "normalise": True,
          "vocabulary": "vocab.json", "blank": "<pad>", "delimiter": "|"}),
        ({"config.json": {"architectures": ["Wav2Vec2ForCTC"]}, "vocab.json": {"_": 0, " ": 1},
          "tokenizer_config.json": {"pad_token": {"content": "_"}, "word_delimiter_token": " ",
                                    "do_lower_case": True}},
         {"kind": "ctc-transcription", "rate": 16000, "normalise": True,
          "vocabulary": "vocab.json", "blank": "_", "delimiter": " ", "lower": True}),
    ],
)  # fmt: skip
def test_sound(files: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert declared(files | SOUND) == wanted


def modules(*names: str) -> list[dict[str, Any]]:
    """As sentence-transformers lists them: all but the first have a folder."""
    return [
        {"idx": place, "type": f"sentence_transformers.models.{name}",
         "path": f"{place}_{name}" if place else ""}
        for place, name in enumerate(names)
    ]  # fmt: skip


POOLED: dict[str, Any] = {"kind": "text-embedding", "pooled_output": "sentence_embedding"}
MEAN: dict[str, Any] = {"1_Pooling/config.json": {"pooling_mode": "mean"}}


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        # Where the graph has it.
        ({}, {"kind": "text-embedding", "pooling": "none", "output": "sentence_embedding"}),
        ({"1_Pooling/config.json": {"pooling_mode_mean_tokens": True}},
         POOLED | {"pooling": "mean"}),
        ({"1_Pooling/config.json": {"pooling_mode_lasttoken": True}},
         POOLED | {"pooling": "last"}),
        # sentence-transformers 5.
        ({"1_Pooling/config.json": {"pooling_mode": "cls"}}, POOLED | {"pooling": "cls"}),
        ({"1_Pooling/config.json": {"pooling_mode": ["weightedmean"]}},
         POOLED | {"pooling": "weighted"}),
        ({"modules.json": modules("Transformer", "Pooling", "Dense", "Normalize"), **MEAN,
          "2_Dense/config.json": {"activation_function": "torch.nn.modules.activation.Tanh"}},
         POOLED | {"pooling": "mean", "dense": [
             {"weights": "2_Dense/model.safetensors", "activation": "tanh"}]}),
        ({**MEAN, "config_sentence_transformers.json": {
            "prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query"}},
         POOLED | {"pooling": "mean", "prompts": {"query": "query: "}, "default_prompt": "query"}),
        ({**MEAN, "config_sentence_transformers.json": {
            "prompts": {"query": "query: "}, "default_prompt_name": None}},
         POOLED | {"pooling": "mean", "prompts": {"query": "query: "}}),
    ],
)  # fmt: skip
def test_how_one_vector_is_made_of_a_text(more: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = declared({"config.json": {"architectures": ["BertModel"]}, **TEXT, **more})
    assert found == wanted


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"1_Pooling/config.json": {"pooling_mode_cls_token": True,
                                    "pooling_mode_mean_tokens": True}}, "['cls', 'mean']"),
        ({"1_Pooling/config.json": {}}, "the pooling is []"),
        ({"1_Pooling/config.json": {"pooling_mode": "new"}}, "the pooling is ['new']"),
        ({"1_Pooling/config.json": {"pooling_mode": "mean", "include_prompt": False}},
         "include_prompt"),
        ({"modules.json": modules("Transformer", "LSTM", "Pooling"), **MEAN}, "the module LSTM"),
        ({"modules.json": modules("Transformer", "Normalize")}, "has no Pooling"),
        ({"modules.json": {}}, "no list of modules"),
        ({"modules.json": modules("Transformer", "Pooling", "Dense"), **MEAN,
          "2_Dense/config.json": {"activation_function": "my.Own"}}, "activation 'my.Own'"),
    ],
)  # fmt: skip
def test_what_is_not_known_of_vectors_is_told(more: dict[str, Any], why: str) -> None:
    with pytest.raises(NotSaid, match=re.escape(why)):
        declared({"config.json": {"architectures": ["BertModel"]}, **TEXT, **more})


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


def test_graphs_that_write_token_by_token_are_refused_in_words(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "onnx/encoder_model.onnx", "onnx/decoder_model.onnx")
    (folder / "config.json").write_text('{"architectures": ["T5ForConditionalGeneration"]}')
    for path in (tmp_path, folder):
        (found,) = scan(path)
        assert (found.name, found.problem.partition(",")[0]) == (
            "bert", "T5ForConditionalGeneration writes its answer token by token",
        )  # fmt: skip


def test_why_no_pipeline_is_made_is_kept_with_the_model(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "model.onnx")
    (folder / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    (found,) = scan(tmp_path)
    assert (found.problem, found.manifest.pipeline) == ("", None)
    assert found.unsaid.startswith("GPT2LMHeadModel writes its answer token by token")


def test_files_that_a_folder_names_outside_of_it_are_not_read(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "models", "model.onnx")
    (folder / "config.json").write_text('{"architectures": ["BertModel"]}')
    (folder / "tokenizer.json").write_text("{}")
    (tmp_path / "config.json").write_text('{"pooling_mode": "mean"}')
    listed = [{"type": "x.Transformer", "path": ""}, {"type": "x.Pooling", "path": "../.."}]
    (folder / "modules.json").write_text(json.dumps(listed))
    (found,) = scan(tmp_path / "models")
    assert "Pooling of modules.json has no config.json" in found.unsaid


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
