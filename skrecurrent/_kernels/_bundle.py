"""Arguments that stay the same from call to call, handed to kernels in one object.

Numba looks at all it is called with anew in every call, at arrays inside tuples above all. For the
dozens of arrays of a learning network that takes longer than learning a row.
"""

from functools import partial

from numba import typeof, types
from numba.experimental.structref import StructRefProxy, define_boxing, new, register
from numba.extending import overload

from skrecurrent._kernels._compile import kernel

# Whether `bind` returns functions that look at what they are called with. What it returns otherwise
# does not: an array of another type, or with gaps, would be read as if it were what was bound, to
# wrong numbers. The tests switch this on before anything is bound.
CHECKED = False

# The types of arguments that kernels were bound for, in checked mode.
_signatures = {}


@register
class _BundleType(types.StructRef):
    """Numba's type of a bundle."""


class Bundle(StructRefProxy):
    """What kernels read: ``contents`` is a named tuple of arguments."""

    def __new__(cls, contents):
        """For Python where nothing is compiled; compiled code goes by ``_new_bundle``."""
        self = object.__new__(cls)
        self.contents = contents
        return self


define_boxing(_BundleType, Bundle)


@overload(Bundle)
def _new_bundle(contents):
    of_this_type = _BundleType([("contents", contents)])

    def new_bundle(contents):
        bundle = new(of_this_type)
        bundle.contents = contents
        return bundle

    return new_bundle


@kernel
def bundle(contents):
    """The arguments, a named tuple, as one object that keeps their arrays alive."""
    return Bundle(contents)


def bind(kernel, contents, others):
    """The kernel with a bundle of ``contents``, a named tuple, for its first argument.

    ``others`` are examples of all other arguments, whose types must always be these. What is called
    is the machine code for them: to look for it by the arguments takes Numba longer than handing
    them over.
    """
    first = bundle(contents)
    if CHECKED:
        return _checked(kernel, first, _types(contents, *others))
    if hasattr(kernel, "compile"):  # not if NUMBA_DISABLE_JIT is set
        kernel = kernel.compile((typeof(first), *map(typeof, others)))
    return partial(kernel, first)


def _types(*arguments):
    return tuple(map(typeof, arguments))


def _checked(kernel, first, signature):
    """The kernel, refusing arguments of other types than those it was bound for first."""
    known = _signatures.setdefault(kernel, signature)
    if signature != known:
        raise TypeError(f"{kernel} was bound for {known} and now is for {signature}.")

    def call(*others):
        if _types(*others) != signature[1:]:
            raise TypeError(
                f"{kernel} was bound for {signature[1:]} and is called with {_types(*others)}."
            )
        return kernel(first, *others)

    return call
