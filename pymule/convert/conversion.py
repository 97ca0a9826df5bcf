"""From the options of uWSGI to what a file of ours says, and what it cannot say.

Each option becomes a key or a note, so that nothing is left out in silence. Mules keep
their numbers whatever else is in doubt, because farms and programs name them so.
"""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from pymule.convert.application import APPLICATIONS, choose_application
from pymule.convert.assembly import Assembly
from pymule.convert.farms import Farm, read_farm
from pymule.convert.keys import MAX_COUNT, Keys, Value
from pymule.convert.option import Option, Origin, is_on
from pymule.convert.options import INCLUDES, Meaning, Reason, guess, meaning_of
from pymule.convert.placeholders import Placeholders
from pymule.convert.programs import program_of
from pymule.convert.schedule import SCHEDULES, decorator_of
from pymule.convert.surroundings import Surroundings

__all__ = ("Conversion", "FarmTable", "MuleTable", "Note", "convert")

_DIFFERENCES: Final = {
    Meaning.HARAKIRI: (
        "is harakiri_s, which bounds the work on a message, too; in uWSGI it bounded"
        " handlers of signals alone"
    )
}
_HINTS: Final = {
    "chdir2": "changes the directory after the application is loaded; cwd is before",
    "early-envdir": "write the variables into env of each mule",
    "envdir": "write the variables into env of each mule",
    "hook-as-mule": "call it where the program begins",
    "unenv": "unset it where pymuled is started",
}
_NOT_FOLLOWED: Final = "not followed; what it says about mules is missing here"


@dataclass(frozen=True, slots=True)
class Note:
    """An option that is not a key here, or not only, and why."""

    reason: Reason
    option: Option
    detail: str = ""


@dataclass(slots=True)
class MuleTable:
    """``count`` mules alike, from number ``first`` on; no program is signal-only."""

    first: int
    count: int
    program: str
    origins: list[Origin]


@dataclass(frozen=True, slots=True)
class FarmTable:
    """A farm, and where it was written."""

    farm: Farm
    origin: Origin


@dataclass(slots=True)
class Conversion:
    """What the new file says.

    Args:
        top: Keys above all tables.
        each: Keys of every mule.
        mules: In the order of their numbers.
        farms: Those that can be.
        notes: In the order of the options.
        hints: What else a person should know.
    """

    top: dict[str, Value] = field(default_factory=dict)
    each: dict[str, Value] = field(default_factory=dict)
    mules: list[MuleTable] = field(default_factory=list)
    farms: list[FarmTable] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    @property
    def mule_count(self) -> int:
        """How many mules there are."""
        return sum(table.count for table in self.mules)


def convert(
    assembly: Assembly, surroundings: Surroundings, *, with_uwsgi: bool = True
) -> Conversion:
    """Return what the options of *assembly* come to here.

    Args:
        assembly: All that count.
        surroundings: For variables and files that values refer to.
        with_uwsgi: Let the programs ``import uwsgi``.
    """
    converter = _Converter(assembly.options, surroundings)
    for option, verdict in assembly.conditions:
        converter.note(Reason.CONDITIONS, option, verdict)
    for option in assembly.options:
        converter.take(option)
    return converter.finish(with_uwsgi=with_uwsgi)


class _Converter:
    def __init__(self, options: Sequence[Option], surroundings: Surroundings) -> None:
        self._placeholders = Placeholders(options, surroundings)
        self._done = Conversion()
        self._keys = Keys()
        self._farms: list[Option] = []
        # What may become the application, in the order of the file.
        self._application: list[tuple[Meaning, Option]] = []
        self._is_lazy = False

    def note(self, reason: Reason, option: Option, detail: str = "") -> None:
        """Keep *option* for the notes."""
        self._done.notes.append(Note(reason, option, detail))

    def take(self, option: Option) -> None:
        """Make a key or a note of *option*."""
        meaning = meaning_of(option.name)
        if isinstance(meaning, Reason):
            self._leave(option, meaning)
            return
        option, sentences = self._placeholders.put_into(option)
        if meaning in SCHEDULES:
            detail = decorator_of(meaning, option.name, option.value)
            self.note(Reason.SCHEDULE, option, option.condition or detail)
        elif option.condition or (option.doubt and meaning is not Meaning.MULE):
            self._leave_in_doubt(meaning, option)
        else:
            for sentence in sentences:
                self.note(Reason.DOUBT, option, sentence)
            self._use(meaning, option)

    def finish(self, *, with_uwsgi: bool) -> Conversion:
        """Return the conversion, when all options were taken."""
        done = self._done
        done.each = {"uwsgi": True} if with_uwsgi else {}
        done.each |= self._keys.each
        if self._keys.cwd:
            done.each["cwd"] = _tidy(self._keys.cwd)
        for table in done.mules:
            if table.program.endswith(".py"):
                table.program = self._path(table.program)
        self._finish_farms()
        app, directory = self._app()
        paths = [*self._keys.python_path, *([directory] if directory else ())]
        wanted: dict[str, Value] = {
            "app": app,
            "python_path": list(dict.fromkeys(map(self._path, paths))),
            "touch_reload": list(map(self._path, self._keys.touch_reload)),
            "log_format": self._keys.log_format,
        }
        done.top = {key: value for key, value in wanted.items() if value}
        self._finish_hints(app)
        done.notes = _in_order(done.notes)
        return done

    def _path(self, path: str) -> str:
        """Return *path* as it is after the chdir of uWSGI."""
        return _tidy(posixpath.join(self._keys.cwd, path))

    # Options that have no key

    def _leave(self, option: Option, reason: Reason) -> None:
        detail = ""
        if reason is Reason.DOUBT:
            detail = option.condition or option.doubt or _HINTS.get(option.name, "")
            detail = detail or _NOT_FOLLOWED
        elif reason is Reason.UNKNOWN:
            if option.is_placeholder or self._placeholders.is_used(option.name):
                reason = Reason.PLACEHOLDERS
            elif meant := guess(option.name):
                detail = f"did you mean {meant}?"
        elif reason is Reason.CONDITIONS:
            # Those that were followed are not among the options any more.
            reason, detail = Reason.DOUBT, option.doubt or _NOT_FOLLOWED
        self.note(reason, option, detail)

    def _leave_in_doubt(self, meaning: Meaning, option: Option) -> None:
        detail = option.condition or f"left out: {option.doubt}"
        if meaning in {Meaning.MULE, Meaning.MULES}:
            detail += "; with it, mules after it have other numbers than here"
        self.note(Reason.DOUBT, option, detail)

    # Options that have

    def _use(self, meaning: Meaning, option: Option) -> None:
        if meaning is Meaning.MULE:
            self._mule(option)
        elif meaning is Meaning.MULES:
            self._mules(option)
        elif meaning is Meaning.FARM:
            self._farms.append(option)
        elif meaning in APPLICATIONS:
            self._application.append((meaning, option))
        elif meaning is Meaning.LAZY:
            self._is_lazy |= is_on(option.value)
            self.note(Reason.LOADING, option)
        else:
            self._key(meaning, option)

    def _key(self, meaning: Meaning, option: Option) -> None:
        problem = _DIFFERENCES.get(meaning, "")
        try:
            self._keys.use(meaning, option.name, option.value)
        except ValueError as exc:
            problem = f"left out; {exc}"
        if problem:
            self.note(Reason.DOUBT, option, problem)
        if meaning is Meaning.LOG_ENCODER:
            self.note(Reason.LOG, option)

    def _mule(self, option: Option) -> None:
        program, problem = (
            ("", option.doubt) if option.doubt else program_of(option.value)
        )
        if problem:
            number = self._done.mule_count + 1
            problem = f"{problem}; mule {number} has no program for now"
            self.note(Reason.DOUBT, option, problem)
        self._add_mules(1, program, option.origin)

    def _mules(self, option: Option) -> None:
        found = re.fullmatch(r"\s*0*([0-9]{1,5})", option.value)
        count = int(found[1]) if found else 0
        if 1 <= count <= MAX_COUNT:
            self._add_mules(count, "", option.origin)
        else:
            problem = f"adds no mules; allowed: a number from 1 to {MAX_COUNT}"
            self.note(Reason.DOUBT, option, problem)

    def _add_mules(self, count: int, program: str, origin: Origin) -> None:
        tables = self._done.mules
        last = tables[-1] if tables else None
        if last and last.program == program and last.count + count <= MAX_COUNT:
            last.count += count
            last.origins.append(origin)
        else:
            first = self._done.mule_count + 1
            tables.append(MuleTable(first, count, program, [origin]))

    def _finish_farms(self) -> None:
        names: dict[str, str] = {}
        for option in self._farms:
            farm = read_farm(option.value, self._done.mule_count, names)
            if farm.changes:
                self.note(Reason.DOUBT, option, farm.changes)
            if farm.mules:
                self._done.farms.append(FarmTable(farm, option.origin))
                names[option.value.partition(":")[0]] = farm.name

    def _app(self) -> tuple[str, str]:
        """Choose what a mule without a program imports, and the directory it is in."""
        choice = choose_application(self._application, is_lazy=self._is_lazy)
        for option in choice.strange:
            problem = "is no module that Python could import; it is not in app"
            self.note(Reason.DOUBT, option, problem)
        for meaning, option in choice.others:
            is_import = meaning is Meaning.IMPORT
            self.note(Reason.IMPORTS if is_import else Reason.WEB, option)
        return choice.module, choice.directory

    def _finish_hints(self, app: str) -> None:
        done = self._done
        if not done.mules:
            done.hints.append("no mule was found; pymuled wants at least one [[mule]]")
        if done.each.keys() & {"user", "group"}:
            done.hints.append("user and group need a pymuled that root starts")
        if not app and any(not table.program for table in done.mules):
            done.hints.append("a mule without a program imports app, and there is none")
        includes = [
            note.option
            for note in done.notes
            if note.option.name in INCLUDES and note.reason is Reason.DOUBT
        ]
        if includes:
            names = ", ".join(option.value for option in includes)
            done.hints.append(f"mules may be missing: {names} was not read")


def _tidy(path: str) -> str:
    """Return *path* without the slashes that ``%d/x`` and ``%d`` leave."""
    return re.sub("//+", "/", path).rstrip("/") or "/"


def _in_order(notes: Sequence[Note]) -> list[Note]:
    """Sort by place: what could be told only at the end is to stand where it was."""
    sources = list(dict.fromkeys(note.option.origin.source for note in notes))
    return sorted(
        notes,
        key=lambda note: (
            sources.index(note.option.origin.source),
            note.option.origin.line,
        ),
    )
