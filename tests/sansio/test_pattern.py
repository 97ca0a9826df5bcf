from pymule.sansio.pattern import Pattern


def test_a_pattern_compares_whole_texts_again_and_again() -> None:
    pattern = Pattern("([a-z]+)([0-9]+)")

    for _ in range(2):
        found = pattern.fullmatch("mule7")
        assert found is not None
        assert found.groups() == ("mule", "7")
        assert pattern.fullmatch("mule7 ") is None


def test_a_pattern_is_shown_as_it_was_written() -> None:
    assert Pattern("[a-z]+").pattern == "[a-z]+"


def test_a_pattern_that_is_not_used_is_not_compiled() -> None:
    assert Pattern("(").pattern == "("
