from pathlib import Path

from pymule.master.oom import OomCounter


def test_a_kill_is_told_once(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 17\noom_kill 3\nswap_ra 0\n")
    counter = OomCounter(vmstat)

    vmstat.write_text("nr_free_pages 12\noom_kill 4\nswap_ra 0\n")

    assert [counter.has_risen(), counter.has_risen()] == [True, False]


def test_a_kernel_that_does_not_count_tells_of_no_kill(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 17\n")
    counter = OomCounter(vmstat)

    vmstat.unlink()

    assert not counter.has_risen()


def test_the_counter_of_this_kernel_can_be_read() -> None:
    told = Path("/proc/vmstat").read_text().splitlines()

    counter = OomCounter()

    assert any(line.startswith("oom_kill ") for line in told)
    assert not counter.has_risen()
