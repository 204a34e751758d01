"""pydantic's complaints, in our words."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from inference_service.faults import first_fault, invalid_input


class Body(BaseModel):
    """One of each."""

    model_config = ConfigDict(extra="forbid")

    count: Annotated[int, Field(gt=0, le=9)]
    strict: Annotated[int, Field(strict=True)] = 0
    share: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0
    kind: Literal["a", "b"] = "a"
    names: Annotated[list[str], Field(min_length=1, max_length=2)] = ["x"]
    flag: bool = False
    table: dict[str, int] = {}
    token: Annotated[str, Field(min_length=2)] = "tt"

    @field_validator("flag")
    @classmethod
    def _checked(cls, value: bool) -> bool:
        if value:
            raise ValueError("there is no flag today")
        return value


def fault(value: Any) -> ValidationError:
    with pytest.raises(ValidationError) as error:
        Body.model_validate(value)
    return error.value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "count: missing"),
        ({"count": "many"}, "count: expected a whole number, got 'many'"),
        ({"count": 1.5}, "count: expected a whole number, got 1.5"),
        ({"count": 1e20}, "count: expected a whole number of at most 64 bits, got 1e+20"),
        (
            {"count": 1, "strict": -1e20},
            "strict: expected a whole number of at most 64 bits, got -1e+20",
        ),
        ({"count": 1e400}, "count: expected a finite number, got inf"),
        ({"count": [1]}, "count: expected a whole number, got an array"),
        ({"count": 0}, "count: expected a number above 0, got 0"),
        ({"count": 10}, "count: expected a number of at most 9, got 10"),
        ({"count": 1, "strict": "1"}, "strict: expected a whole number, got a string '1'"),
        ({"count": 1, "strict": True}, "strict: expected a whole number, got true"),
        ({"count": 1, "share": -1}, "share: expected a number of at least 0, got -1"),
        ({"count": 1, "share": 1}, "share: expected a number below 1, got 1"),
        ({"count": 1, "share": "inf"}, "share: expected a finite number, got 'inf'"),
        ({"count": 1, "kind": "c"}, "kind: expected 'a' or 'b', got 'c'"),
        ({"count": 1, "names": []}, "names: expected a length of at least 1, got 0"),
        ({"count": 1, "names": ["", "", ""]}, "names: expected a length of at most 2, got 3"),
        ({"count": 1, "names": [None]}, "names[0]: expected a string, got null"),
        ({"count": 1, "flag": "perhaps"}, "flag: expected true or false, got 'perhaps'"),
        ({"count": 1, "flag": True}, "flag: there is no flag today"),
        ({"count": 1, "table": []}, "table: expected an object, got an array"),
        (3, "expected an object, got 3"),
    ],
)
def test_the_words_say_what_was_expected_and_what_came(value: Any, words: str) -> None:
    assert str(invalid_input(fault(value))) == words


def test_no_more_of_a_long_text_is_repeated_than_its_beginning() -> None:
    assert str(invalid_input(fault({"count": "9" * 100 + "x"}))).endswith(f"'{'9' * 40}…'")


def test_the_value_of_a_secret_setting_is_not_told() -> None:
    place, words = first_fault(fault({"count": 1, "token": "s"}), Body)
    assert (place, words) == (("token",), "expected at least 2 characters")
