"""How do messages a second change with their size, from 16 bytes to 1 MiB?

One sender, one receiving process, as in the throughput benchmark; see
docs/performance.md.
"""

from collections.abc import Mapping
from statistics import median
from typing import Final

from benchmarks import cli
from benchmarks.floods import Round, answer_of_several, flood, rates
from benchmarks.peers import pymule, queue, uwsgi_yielding, zeromq
from benchmarks.report import Answer, Plot, Table, over, span
from benchmarks.rounds import Options, Outcome, Peer, play

__all__ = ("answer",)

_KIBI: Final = 1024
_MEBI: Final = _KIBI * _KIBI
_SIZES: Final = {
    "16 B": (16, 300_000),
    "128 B": (128, 300_000),
    "4 KiB": (4 * _KIBI, 60_000),
    "64 KiB": (64 * _KIBI, 8_000),
    "1 MiB": (_MEBI, 500),
}
"""Bytes, and how many messages are about half a second of the fastest."""
_SHARES: Final[Mapping[Peer, int]] = {
    pymule: 1,
    uwsgi_yielding: 2,
    zeromq.BLOCKING: 1,
    queue: 4,
}
"""What part of them each peer has, so that it takes as long."""
# Its queue is a socket of the kernel with its default buffer.
_UWSGI_NOTE: Final = (
    "More than 208 KiB do not go through uWSGI's queue, and its receivers take 64 KiB"
    " unless they ask for more."
)
_UWSGI_MOST: Final = 64 * _KIBI
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 1
_QUICK: Final = 10
_MEGA: Final = 1e6

_Outcomes = Mapping[str, Outcome[Round]]


def answer(options: Options) -> Answer:
    """Measure."""
    rounds = options.rounds or (_QUICK_ROUNDS if options.is_quick else _ROUNDS)
    found: dict[str, dict[str, Outcome[Round]]] = {}
    for name, (size, usual) in _SIZES.items():

        def round_of(peer: Peer, size: int = size, usual: int = usual) -> Round:
            count = usual // _SHARES[peer] // (_QUICK if options.is_quick else 1)
            return flood(peer, options.messages or count, size)

        peers = [
            peer
            for peer in _SHARES
            if options.wants(peer)
            and (size <= _UWSGI_MOST or peer is not uwsgi_yielding)
        ]
        found[name] = play(peers, rounds, round_of)
    tables = (_speeds(found, rounds), _ratios(found))
    return answer_of_several(
        "throughput_sizes", cli.question_of(__doc__), found, tables, _plot(found)
    )


def _cell(outcomes: _Outcomes, peer: Peer, text: str) -> str:
    """Return *text*, or why there is no figure of *peer*."""
    if (outcome := outcomes.get(peer.NAME)) is None:
        return "too large for it" if peer is uwsgi_yielding else "-"
    return text if outcome.failure is None else outcome.failure.partition("\n")[0]


def _speeds(found: Mapping[str, _Outcomes], rounds: int) -> Table:
    rows = tuple(
        (
            peer.NAME,
            *(
                _cell(outcomes, peer, span(rates(outcomes, peer.NAME)))
                for outcomes in found.values()
            ),
        )
        for peer in _SHARES
    )
    return Table(f"messages/s, {rounds} rounds", ("", *found), rows, (_UWSGI_NOTE,))


def _ratios(found: Mapping[str, _Outcomes]) -> Table:
    rows = tuple(
        (
            peer.NAME,
            *(
                _cell(
                    outcomes,
                    peer,
                    over(rates(outcomes, pymule.NAME), rates(outcomes, peer.NAME)),
                )
                for outcomes in found.values()
            ),
        )
        for peer in _SHARES
        if peer is not pymule
    )
    return Table("pymule to it, in the same round", ("", *found), rows)


def _plot(found: Mapping[str, _Outcomes]) -> Plot:
    series = {
        peer.NAME: [
            _mega_per_s(outcomes, peer, size)
            for outcomes, (size, _) in zip(found.values(), _SIZES.values(), strict=True)
        ]
        for peer in _SHARES
    }
    title = "what gets through, by the size of messages"
    return Plot(title, "lines", tuple(found), series, "MB/s")


def _mega_per_s(outcomes: _Outcomes, peer: Peer, size: int) -> float | None:
    speeds = rates(outcomes, peer.NAME)
    return median(speeds) * size / _MEGA if speeds else None


if __name__ == "__main__":
    cli.main({"throughput_sizes": answer})
