import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.sansio.watch import (
    Changes,
    Interest,
    Monitor,
    Node,
    NodeKind,
    Scan,
    Trail,
    advice,
    compare,
    follow,
    is_missed,
    is_stale,
    report,
)

DIRECTORY = Node(NodeKind.DIRECTORY)
FILE = Node(NodeKind.FILE)
MISSING = Node(NodeKind.MISSING)


def link(target: str) -> Node:
    return Node(NodeKind.LINK, target)


def trail_of(path: str, tree: dict[str, Node]) -> Trail:
    """Follow as the shell does: what is asked for is looked up, nothing else is."""
    nodes: dict[str, Node] = {}
    while (trail := follow(path, nodes)).question:
        assert trail.question not in nodes
        nodes[trail.question] = tree.get(trail.question, MISSING)
    return trail


names = st.sampled_from(["a", "b", "c"])
paths = st.lists(names, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
targets = st.lists(st.sampled_from(["a", "b", "..", ".", ""]), max_size=4).map("/".join)
trees = st.dictionaries(
    paths, st.one_of(st.just(DIRECTORY), st.just(FILE), targets.map(link))
)


def naive(path: str, tree: dict[str, Node], hops: int = 0) -> str | None:
    """Resolve a path by recursion from its end."""
    # Two slashes at the start are kept by posixpath, and mean nothing here.
    path = "/" + path.strip("/")
    if hops > 60 or path == "/":
        return "/" if path == "/" else None
    head, name = posixpath.split(path)
    above = naive(head, tree, hops)
    if above is None or (above != "/" and tree.get(above) != DIRECTORY):
        return None
    if name in ("", ".", ".."):
        return posixpath.dirname(above) if name == ".." else above
    spot = posixpath.join(above, name)
    node = tree.get(spot, MISSING)
    if node.kind is NodeKind.LINK:
        return naive(posixpath.join(above, node.target or "."), tree, hops + 1)
    return None if node.kind is NodeKind.MISSING else spot


@given(tree=trees, path=paths)
def test_a_trail_leads_where_a_naive_resolution_leads(
    tree: dict[str, Node], path: str
) -> None:
    assert trail_of(path, tree).real == naive(path, tree)


@given(tree=trees, path=paths)
def test_every_directory_on_the_way_is_watched_and_only_directories(
    tree: dict[str, Node], path: str
) -> None:
    trail = trail_of(path, tree)

    assert all(
        directory == "/" or tree[directory] == DIRECTORY
        for directory in trail.directories
    )
    assert len(set(trail.directories)) == len(trail.directories)
    if trail.real is not None:
        assert posixpath.dirname(trail.real) in trail.directories


@given(tree=trees, path=paths, spot=paths, node=st.sampled_from([DIRECTORY, FILE]))
def test_what_no_watched_directory_shows_cannot_change_where_a_path_leads(
    tree: dict[str, Node], path: str, spot: str, node: Node
) -> None:
    trail = trail_of(path, tree)
    if posixpath.dirname(spot) not in trail.directories:
        assert trail_of(path, {**tree, spot: node}) == trail


def test_a_path_that_is_not_there_is_watched_by_its_nearest_ancestor() -> None:
    assert trail_of("/a/b/c/f", {"/a": DIRECTORY}) == Trail(("/", "/a"))


def test_a_link_is_watched_with_its_own_directory_and_that_of_its_target() -> None:
    tree = {
        "/etc": DIRECTORY,
        "/etc/app": link("/srv/x/../app"),
        "/srv": DIRECTORY,
        "/srv/x": DIRECTORY,
        "/srv/app": FILE,
    }

    trail = trail_of("/etc/app", tree)

    assert trail == Trail(("/", "/etc", "/srv"), "/srv/app")


def test_what_is_above_a_mount_point_is_not_watched_for_it() -> None:
    tree = {
        "/": Node(NodeKind.DIRECTORY, identity=(1, 2)),
        "/dev": Node(NodeKind.DIRECTORY, identity=(2, 1)),
        "/dev/memory": Node(NodeKind.DIRECTORY, identity=(3, 1)),
        "/dev/memory/d": Node(NodeKind.DIRECTORY, identity=(3, 5)),
    }

    assert follow("/dev/memory/d/f", {**tree, "/dev/memory/d/f": FILE}) == Trail(
        ("/dev/memory", "/dev/memory/d"), "/dev/memory/d/f"
    )
    assert follow("/dev", tree) == Trail(("/dev",), "/dev")


def test_links_in_a_circle_lead_nowhere() -> None:
    assert trail_of("/a", {"/a": link("b"), "/b": link("a")}) == Trail(("/",))


# Scans


def scan_of(entries: dict[str, int], limit: int = 10) -> Scan:
    scan = Scan(limit)
    for entry, signature in entries.items():
        scan.add(entry, signature)
    return scan


entries = st.dictionaries(
    st.sampled_from(["", "/a", "/b", "/c", "/d"]), st.integers(0, 3)
)


@given(before=entries, after=entries)
def test_two_scans_differ_by_the_entries_that_came_went_or_changed(
    before: dict[str, int], after: dict[str, int]
) -> None:
    keys = before.keys() | after.keys()
    expected = {key for key in keys if before.get(key) != after.get(key)}

    assert compare(scan_of(before), scan_of(after)) == Changes(expected)


@given(before=entries, after=entries, limit=st.integers(0, 3))
def test_a_scan_beyond_its_limit_tells_only_that_something_changed(
    before: dict[str, int], after: dict[str, int], limit: int
) -> None:
    change = compare(scan_of(before, limit), scan_of(after, limit))

    if before == after:
        assert change == Changes()
    elif max(len(before), len(after)) > limit:
        assert change in (Changes({""}, is_complete=False), Changes())
    else:
        assert change.is_complete


def test_a_scan_beyond_its_limit_keeps_nothing() -> None:
    scan = scan_of({f"/{number}": number for number in range(5)}, limit=3)

    assert scan.entries == {}
    assert not scan.is_whole
    assert compare(scan, scan_of({}, limit=3)) == Changes({""}, is_complete=False)


def test_a_change_that_no_event_told_was_missed() -> None:
    assert is_missed(Changes({"", "/a"}), ["/b"])
    assert is_missed(Changes({""}), [])
    assert not is_missed(Changes({"", "/a"}), ["/a"])
    assert not is_missed(Changes(), [])


@pytest.mark.parametrize("kind", [1, 3])
def test_a_watched_directory_that_came_or_went_makes_the_watches_stale(
    kind: int,
) -> None:
    watched = {"/a": (1, 2)}

    assert is_stale([(kind, "/a")], watched)
    assert not is_stale([(2, "/a"), (kind, "/a/b")], watched)


# Whom an event concerns


@given(
    monitors=st.dictionaries(
        st.sampled_from("xyz"),
        st.tuples(st.none() | paths | st.just("/"), st.booleans()),
    ),
    path=paths | st.just("/"),
)
def test_an_event_concerns_the_path_its_parent_and_recursive_monitors_above(
    monitors: dict[str, tuple[str | None, bool]], path: str
) -> None:
    made = [
        (Monitor(key, "/user", is_recursive), real)
        for key, (real, is_recursive) in monitors.items()
    ]

    found = Interest(made).concerned(path)

    expected = {
        monitor.key
        for monitor, real in made
        if real is not None
        and (
            path == real
            or (path != "/" and posixpath.dirname(path) == real)
            or (monitor.is_recursive and path.startswith(real.rstrip("/") + "/"))
        )
    }
    assert sorted(monitor.key for monitor, _ in found) == sorted(expected)
    reals = {monitor.key: real for monitor, real in made}
    for monitor, entry in found:
        real = reals[monitor.key]
        assert real is not None
        assert (real.rstrip("/") + entry if entry else real) == path


# Reports


def test_a_report_names_the_paths_as_they_were_asked_for() -> None:
    assert report("/user/d", Changes({"/b", "/a", ""})) == (
        ["/user/d/a", "/user/d/b"],
        True,
    )
    assert report("/user/d", Changes({""})) == (["/user/d"], True)
    assert report("/", Changes({"/x"})) == (["/x"], True)
    assert report("/", Changes({""})) == (["/"], True)


def test_a_report_says_when_it_does_not_name_all() -> None:
    many = Changes({"/a", "/b", "/c"})

    assert report("/d", many, limit=2) == (["/d/a", "/d/b"], False)
    assert report("/d", many, limit=3)[1]
    assert not report("/d", Changes({""}, is_complete=False))[1]


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        ("OS file watch limit reached.", "fs.inotify.max_user_watches"),
        ("No space left on device (os error 28)", "fs.inotify.max_user_watches"),
        ("Too many open files (os error 24)", "fs.inotify.max_user_instances or"),
        ("something else", "unknown"),
    ],
)
def test_the_limit_that_an_error_is_about_is_named(error: str, limit: str) -> None:
    assert advice(error)[0].startswith(limit)
