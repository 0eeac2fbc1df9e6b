"""Arguments that stay the same from call to call, handed to kernels in one object.

Numba looks at all it is called with anew in every call, at arrays inside tuples above all. For the
dozens of arrays of a learning network that takes longer than learning a row.
"""

from functools import partial
from itertools import chain

from numba import typeof, types
from numba.experimental.structref import StructRefProxy, define_boxing, new, register
from numba.extending import overload

from skrecurrent._kernels._compile import kernel


@register
class _BundleType(types.StructRef):
    """Numba's type of a bundle."""


class Bundle(StructRefProxy):
    """What kernels unpack: ``contents`` is the tuple of arguments."""

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
    """The arguments, a tuple, as one object that keeps their arrays alive."""
    return Bundle(contents)


def bind(kernel, lasting, others):
    """The kernel with a bundle for its first argument; all others are of these types always.

    In the bundle a plain tuple counts as its items. What is called is the machine code for these
    types: to look for it by the arguments takes Numba longer than handing them over.
    """
    items = (item if type(item) is tuple else (item,) for item in lasting)
    first = bundle(tuple(chain.from_iterable(items)))
    if hasattr(kernel, "compile"):  # not if NUMBA_DISABLE_JIT is set
        kernel = kernel.compile((typeof(first), *map(typeof, others)))
    return partial(kernel, first)
