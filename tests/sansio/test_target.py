import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.sansio.target import SHARED, Target, TargetKind, message_target

FARMS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", fullmatch=True)
NUMBERS = st.integers(1, 999_999_999)
TARGETS = st.one_of(
    st.sampled_from(
        (
            SHARED,
            Target(TargetKind.ANY),
            Target(TargetKind.MULES),
            Target(TargetKind.WORKER),
            Target(TargetKind.WORKERS),
        )
    ),
    NUMBERS.map(lambda number: Target(TargetKind.MULE, number)),
    NUMBERS.map(lambda number: Target(TargetKind.WORKER_N, number)),
    FARMS.map(lambda name: Target(TargetKind.FARM, name=name)),
    st.just(Target(TargetKind.FUNCTION, name="package.module:Class.method")),
)


@given(target=TARGETS)
def test_a_target_reads_back_what_it_writes(target: Target) -> None:
    assert Target.parse(str(target)) == target


@given(text=st.text() | st.from_regex(r"(mules?|workers?|farm[:_]|func:)?[0-9a-z]*"))
def test_whatever_can_be_read_has_one_spelling(text: str) -> None:
    try:
        target = Target.parse(text)
    except ValueError:
        return

    assert Target.parse(str(target)) == target


@pytest.mark.parametrize("text", ["", "mule", "mule0", "mule000"])
def test_the_first_available_mule_has_several_names(text: str) -> None:
    assert Target.for_message(text) == SHARED
    assert str(SHARED) == message_target(text) == "mule"


@pytest.mark.parametrize("text", ["worker", "worker0"])
def test_so_has_the_first_available_worker(text: str) -> None:
    assert Target.for_signal(text) == Target(TargetKind.WORKER)


@pytest.mark.parametrize("text", ["mules", "worker", "worker2", "workers"])
def test_a_message_goes_to_one_mule(text: str) -> None:
    with pytest.raises(ValueError, match="is for signals"):
        Target.for_message(text)


def test_a_signal_does_not_go_to_a_function() -> None:
    with pytest.raises(ValueError, match="is for messages"):
        Target.for_signal("func:app:work")


def test_a_mule_is_named_by_its_number() -> None:
    assert Target.parse("mule12") == Target(TargetKind.MULE, 12)
    assert str(Target.parse("mule007")) == "mule7"


def test_a_farm_is_named_in_our_way_or_in_the_way_of_uwsgi() -> None:
    farm = Target(TargetKind.FARM, name="busy")

    assert Target.parse("farm:busy") == farm
    assert Target.parse("farm_busy") == farm
    assert str(farm) == "farm:busy"


def test_all_mules_are_a_target_of_their_own() -> None:
    assert Target.parse("mules") == Target(TargetKind.MULES)


@pytest.mark.parametrize(
    "text",
    [
        "farm:",
        "farm:" + "x" * 65,
        "farm:a/b",
        "farm:a\n",
        "farm:9",
        "mule-1",
        "mule1.5",
        "mule 1",
        "mule\u0661",
        "mule" + "9" * 10,
        "mule" + "9" * 100_000,
        "Mule",
        "worker-1",
        "func:app",
        "func:app:a b",
        "12",
    ],
    ids=lambda text: ascii(text[:16]),
)
def test_what_is_not_in_the_grammar_is_refused_with_the_grammar(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: 'mule', 'mules', 'muleN'"):
        Target.parse(text)


@pytest.mark.parametrize(
    ("mule", "farm", "text"),
    [
        (None, None, "mule"),
        (0, None, "mule"),
        (3, None, "mule3"),
        (None, "busy", "farm:busy"),
        (3, "busy", "farm:busy"),
    ],
)
def test_a_call_means_a_target(mule: int | None, farm: str | None, text: str) -> None:
    assert str(Target.of(mule=mule, farm=farm)) == text


@pytest.mark.parametrize(("mule", "farm"), [(-1, None), (10**9, None), (None, "")])
def test_a_call_cannot_mean_what_has_no_name(
    mule: int | None, farm: str | None
) -> None:
    with pytest.raises(ValueError, match="allowed"):
        Target.of(mule=mule, farm=farm)
