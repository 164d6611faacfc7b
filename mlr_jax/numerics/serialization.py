"""Lets `jax.export` write functions to files that take or return the library's NamedTuples.

`jax.export` writes the structure of arguments and results with a function, and knows only types that were
registered. `import jax` has imported it already, so that registering costs nothing. A type's name in a file
is that of its class: a class that moves to another module can still be read.
"""

import json
from collections.abc import Callable
from typing import TypeVar

from jax import export

_Class = TypeVar("_Class", bound=type)
_Static = TypeVar("_Static")


def exported(named_tuple: _Class) -> _Class:
    """Class decorator: registers a NamedTuple of arrays."""
    export.register_namedtuple_serialization(named_tuple, serialized_name=_name(named_tuple))
    return named_tuple


def exported_static(
    as_json: Callable[[_Static], object], from_json: Callable[..., _Static]
) -> Callable[[type[_Static]], type[_Static]]:
    """Class decorator: registers a static class, which `jax.tree_util.register_static` knows already.

    Args:
      as_json: a value of it as what JSON can write.
      from_json: the value from that.
    """

    def register(static: type[_Static]) -> type[_Static]:
        return export.register_pytree_node_serialization(
            static,
            serialized_name=_name(static),
            serialize_auxdata=lambda value: json.dumps(as_json(value)).encode(),
            deserialize_auxdata=lambda text: from_json(json.loads(bytes(text))),
            from_children=lambda value, _: value,
        )

    return register


def _name(registered: type) -> str:
    return f"mlr_jax.{registered.__name__}"
