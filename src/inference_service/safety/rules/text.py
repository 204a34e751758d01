"""Strings: normalising, splitting into words, counting words.

A tokeniser pads the words of every row to the longest row of the run, so the shape and the padding
of a row depend on the others: its result is marked `Mark.PADDED`, and its last length is tainted by
rows. Only a rule that accepts the mark may use it: TfIdfVectorizer, whose vocabulary usually lacks
the padding, takes it away again, for padding behind the words of a row matches nothing.
"""

from inference_service.safety.call import Call, Mixing, Result, rule
from inference_service.safety.graph import Constant
from inference_service.safety.poly import Unfollowed
from inference_service.safety.value import Mark, Rows, Value

MICROSOFT = "com.microsoft"


@rule("StringNormalizer")
def string_normalizer(call: Call) -> Result:
    """Changes case. Stop words are removed: the others move up, across rows.

    Takes [C] or [1, C] alone, so rows lie along the last axis. Without stop words it works element
    by element; an empty list of them is none.
    """
    shape = call.shape(0)
    stopwords = call.node.attributes.get("stopwords")
    if stopwords:
        call.out((*shape[:-1], call.unknown("words", 0)))
        flow = call.flow(0)
        if isinstance(flow, Rows):
            raise Mixing("it removes stop words, and the words of other rows move up")
        return flow
    call.out(shape)
    return call.flow(0)


@rule("StringSplit")
def string_split(call: Call) -> Result:
    """The words of each string along a new last axis, padded with "", and their number."""
    shape = call.shape(0)
    flow = call.flow(0)
    marks = {Mark.PADDED} if isinstance(flow, Rows) else set()
    longest = call.unknown("longest", 0)
    call.host.cost_by_value(f"the {call.node} gives as many words as the text has")
    words = Value(flow, (*shape, longest), "string", marks=frozenset(marks), padding="")
    return [words, Value(flow, shape, "int64")]


@rule("Tokenizer", domain=MICROSOFT)
def tokenizer(call: Call) -> Result:
    """The words of each string along a new last axis, padded; a row of invalid text fails the run.

    With ``mark`` each row ends with a marker *behind* the padding, so padding is not at the end.
    """
    shape = call.shape(0)
    longest = call.unknown("longest", 0)
    call.host.cost_by_value(f"the {call.node} gives as many words as the text has")
    flow = call.flow(0)
    if not isinstance(flow, Rows):
        return Value(flow, (*shape, longest), "string")
    if call.int_("mark", 0):
        raise Mixing("it pads to the longest row and marks the end behind the padding")
    call.host.can_fail()
    marks, padding = frozenset({Mark.PADDED}), call.text("pad_value")
    return Value(flow, (*shape, longest), "string", marks=marks, padding=padding)


@rule("TfIdfVectorizer", accepts=[Mark.PADDED])
def tfidf_vectorizer(call: Call) -> Result:
    """Counts the n-grams of each row of words; rank 1 is one row."""
    value, shape = call.value(0), call.shape(0)
    indexes = call.ints_("ngram_indexes") or ()
    call.out((*shape[:-1], max(indexes, default=-1) + 1), "float")
    flow = call.flow(0)
    if not isinstance(flow, Rows):
        return flow
    if len(shape) != 2 or flow.axis != 0:
        raise Mixing("it counts along the axis of the rows")
    if Mark.PADDED in value.marks and not _lacks(call, value.padding):
        raise Mixing("it counts the padding, of which there is as much as the longest row needs")
    return flow


def _lacks(call: Call, padding: str | None) -> bool:
    """Whether the vocabulary does not hold the padding."""
    pool = call.node.attributes.get("pool_strings")
    if isinstance(pool, Constant) or not isinstance(pool, tuple):
        raise Unfollowed("its vocabulary is not known")
    return padding is not None and padding not in pool
