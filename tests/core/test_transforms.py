"""Steps around the run that model.toml declares."""

import numpy as np
import pytest

from inference_service.core.errors import InvalidModel
from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.core.transforms import Affine, TopK, Transforms

SIGNATURE = Signature(
    (TensorSpec("image", DType.FP32, (None, 3, None)), TensorSpec("id", DType.INT64, (None,))),
    (TensorSpec("p", DType.FP32, (None, 4)), TensorSpec("y", DType.FP32, (None,))),
)


def test_scale_and_offset_are_applied_in_the_inputs_own_type() -> None:
    transforms = Transforms(before={"image": Affine((0.5,), (1.0,))})
    inputs = {"image": np.full((1, 3, 2), 4, np.float32), "id": np.array([7])}
    tensors = transforms.preprocess(inputs)
    assert tensors["image"].dtype == np.float32
    assert tensors["image"].tolist() == [[[3, 3]] * 3]
    assert tensors["id"] is inputs["id"]
    assert inputs["image"][0, 0, 0] == 4, "the client's tensor is untouched"


def test_one_number_for_each_channel() -> None:
    step = Affine((1.0, 2.0, 3.0), (0.0, 0.0, 1.0), axis=1)
    assert step.apply(np.ones((2, 3, 1), np.float32))[1, :, 0].tolist() == [1, 2, 4]


def test_the_highest_scores_come_with_their_labels() -> None:
    transforms = Transforms(after={"p": TopK(2, ("a", "b", "c", "d"))})
    scores = np.array([[0.1, 0.5, 0.2, 0.2], [0.7, 0.1, 0.1, 0.1]], np.float32)
    answer = transforms.postprocess({"p": scores, "y": np.zeros(2)})
    assert list(answer) == ["p", "p_labels", "y"]
    assert answer["p"].tolist() == [pytest.approx([0.5, 0.2]), pytest.approx([0.7, 0.1])]
    assert answer["p_labels"].tolist() == [["b", "c"], ["a", "b"]]


def test_without_labels_there_are_indices() -> None:
    answer = Transforms(after={"p": TopK(9)}).postprocess({"p": np.array([[1, 3, 2]], np.float32)})
    assert answer["p_indices"].tolist() == [[1, 2, 0]]


def test_clients_see_the_outputs_that_they_get() -> None:
    transforms = Transforms(after={"p": TopK(2, ("a", "b", "c", "d"))})
    shown = [str(spec) for spec in transforms.served(SIGNATURE).outputs]
    assert shown == ["p float32[any, 2]", "p_labels string[any, 2]", "y float32[any]"]


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        (Transforms(before={"x": Affine()}), "preprocess.x: no such tensor; this model has 'image', 'id'"),
        (Transforms(before={"id": Affine()}), "preprocess.id: scale and offset need a float input"),
        (Transforms(before={"image": Affine((1.0, 2.0), axis=1)}), "preprocess.image.scale: 2 values don't fit axis 1"),
        (Transforms(before={"image": Affine(offset=(1.0, 2.0), axis=9)}), "preprocess.image.offset: 2 values"),
        (Transforms(after={"y": TopK(1)}), "postprocess.y: top_k needs scores"),
        (Transforms(after={"p": TopK(1, ("a",))}), "labels.p: 1 labels for 4 classes"),
    ],
)  # fmt: skip
def test_a_step_that_does_not_fit_the_model_is_told_when_it_is_loaded(
    transforms: Transforms, message: str
) -> None:
    with pytest.raises(InvalidModel) as error:
        transforms.check(SIGNATURE)
    assert str(error.value).startswith(message)
