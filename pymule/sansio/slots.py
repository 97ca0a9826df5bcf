"""Classes with slots for attributes, as :mod:`dataclasses` makes them, made faster.

Every mule and every web process imports these, and pays for each class: 300 us for a
dataclass, most of them for methods that are compiled whether they are called or not;
20 us here, where ``__init__`` is compiled by the first call of it. It is the same
``__init__`` then, as fast.

:func:`frozen` is for the type checker: nobody may assign to an attribute. At run time
nothing prevents it, because that makes an object three times as expensive.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import ClassVar, TypeVar, dataclass_transform, get_origin, overload

__all__ = ("frozen", "slots")

T = TypeVar("T")


@overload
def slots(cls: type[T], /) -> type[T]: ...
@overload
def slots(*, eq: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform()
def slots(cls: type[T] | None = None, /, *, eq: bool = True) -> object:
    """Make the annotated attributes of a class its slots.

    It gets ``__init__`` and ``__repr__``, and is equal to another of its class with
    equal attributes, unless *eq* is false.
    """
    if cls is None:
        return lambda cls: _remade(cls, eq=eq, is_frozen=False)
    return _remade(cls, eq=eq, is_frozen=False)


@overload
def frozen(cls: type[T], /) -> type[T]: ...
@overload
def frozen(*, eq: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True)
def frozen(cls: type[T] | None = None, /, *, eq: bool = True) -> object:
    """Do as :func:`slots`, for objects that do not change and have a hash."""
    if cls is None:
        return lambda cls: _remade(cls, eq=eq, is_frozen=True)
    return _remade(cls, eq=eq, is_frozen=True)


def _remade(cls: type[T], *, eq: bool, is_frozen: bool) -> type[T]:
    """Return *cls* again, with slots; a class cannot get them once it is made."""
    attributes = dict(vars(cls))
    own = [name for name, hint in cls.__annotations__.items() if not _is_of_class(hint)]
    defaults = {
        **getattr(cls, "_defaults", {}),
        **{name: attributes.pop(name) for name in own if name in attributes},
    }
    names = (*getattr(cls, "__match_args__", ()), *own)
    for name in ("__dict__", "__weakref__"):
        attributes.pop(name, None)
    attributes |= {"__qualname__": cls.__qualname__, "__slots__": tuple(own)}
    # One that adds nothing to its base has all that from there.
    is_new = bool(own) or not hasattr(cls, "_defaults")
    if is_new:
        attributes |= {"__match_args__": names, "_defaults": defaults}
        attributes |= _methods(names, eq=eq, is_frozen=is_frozen)
    made: type[T] = type(cls.__name__, cls.__bases__, attributes)
    if is_new:
        type.__setattr__(made, "__init__", _first_init(made, names, defaults))
    return made


def _is_of_class(hint: object) -> bool:
    return get_origin(hint) is ClassVar


def _first_init(
    made: type[object], names: tuple[str, ...], defaults: dict[str, object]
) -> Callable[..., None]:
    """Return an ``__init__`` that puts the real one in its place."""

    def __init__(self: object, *args: object, **kwargs: object) -> None:  # noqa: N807
        compiled = _compile_init(names, defaults)
        compiled.__qualname__ = f"{made.__qualname__}.__init__"
        type.__setattr__(made, "__init__", compiled)
        compiled(self, *args, **kwargs)

    return __init__


def _compile_init(
    names: tuple[str, ...], defaults: dict[str, object]
) -> Callable[..., None]:
    parameters = (
        f"{name}=_defaults[{name!r}]" if name in defaults else name for name in names
    )
    lines = (f"self.{name} = {name}" for name in names)
    source = (
        f"def __init__(self, {', '.join(parameters)}):\n {'; '.join(lines) or 'pass'}"
    )
    scope: dict[str, Callable[..., None]] = {}
    exec(source, {"_defaults": defaults}, scope)  # noqa: S102  (as dataclasses do)
    return scope["__init__"]


def _methods(names: tuple[str, ...], *, eq: bool, is_frozen: bool) -> dict[str, object]:
    values = attrgetter(*names) if names else _no_values

    def __repr__(self: object) -> str:  # noqa: N807
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({told})"

    def __eq__(self: object, other: object) -> object:  # noqa: N807
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    def __hash__(self: object) -> int:  # noqa: N807
        return hash(values(self))

    methods: dict[str, object] = {"__repr__": __repr__}
    if eq:
        methods |= {"__eq__": __eq__, "__hash__": __hash__ if is_frozen else None}
    return methods


def _no_values(one: object) -> tuple[()]:
    del one
    return ()
