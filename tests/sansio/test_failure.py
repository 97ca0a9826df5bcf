from pymule.sansio.failure import failure


def test_a_failure_has_the_mule_and_the_time() -> None:
    error: dict[str, object] = {"type": "E", "text": "no", "traceback": "Trace"}

    assert failure(error, 3, 1.5) == {**error, "mule": 3, "at": 1.5}


def test_what_a_mule_tells_at_length_is_cut() -> None:
    error: dict[str, object] = {
        "type": "E" * 1_000,
        "text": "t" * 100_000,
        "traceback": "x" * 100_000 + "the end",
        "more": "m" * 100_000,
    }

    kept = failure(error, 1, 0.0)

    assert kept["type"] == "E" * 200
    assert kept["text"] == "t" * 1_000
    assert kept["traceback"] == "x" * 7_993 + "the end"
    assert "more" not in kept


def test_what_is_no_text_is_not_kept() -> None:
    error: dict[str, object] = {"type": 1, "text": ["x"], "traceback": None}

    assert failure(error, 1, 0.0) == {"mule": 1, "at": 0.0}
    assert failure({"traceback": ""}, 1, 0.0) == {"mule": 1, "at": 0.0}


def test_the_same_words_are_kept_once() -> None:
    def told() -> dict[str, object]:
        return {"type": "E" * 10, "text": "t" * 10, "traceback": "x" * 10}

    first, second = failure(told(), 1, 0.0), failure(told(), 2, 1.0)

    for key in ("type", "text", "traceback"):
        assert first[key] is second[key]
