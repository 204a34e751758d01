"""What counts as a difference between a converted model and the original."""

import numpy as np
import pytest

from inference_service.importing.comparison import differences, refused


def answers(labels: list[str], scores: list[list[float]]) -> dict[str, np.ndarray]:
    return {"label": np.array(labels, object), "probabilities": np.array(scores, np.float32)}


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        (0.5, ""),
        (0.5 + 1e-7, ""),
        (0.51, "label: 50.00% of 2 rows differ"),
    ],
)
def test_a_label_of_two_equal_scores_may_be_either(second: float, problem: str) -> None:
    scores = [[0.9, 0.1], [1 - second, second]]
    wanted = answers(["a", "b"], scores)
    assert refused(differences(answers(["a", "a"], scores), wanted), 1e-4) == problem


def test_a_label_without_scores_has_no_ties() -> None:
    wanted = {"label": np.array(["a", "b"], object)}
    got = {"label": np.array(["a", "a"], object)}
    assert refused(differences(got, wanted), 1e-4) == "label: 50.00% of 2 rows differ"
