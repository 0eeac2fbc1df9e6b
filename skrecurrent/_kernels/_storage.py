"""Compiled kernels on disk: found by what their files say, read where nothing can be written.

A kernel is made of functions of several files, of options that stand in ``_compile.py``, and of
constants. Numba's own cache notices only an edit of the kernel's own file, some versions only by
its time, and it does not read from a directory that it could not write to.

This module subclasses internals of Numba. If they are no longer what is used here, ``_compile.py``
goes on without files.
"""

import hashlib
import os
import sys
import tempfile
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path

from numba.core import config
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    _CacheLocator,
)
from numba.misc.appdirs import AppDirs


@cache
def contents():
    """A hash of all that kernels are made of.

    It is to be taken before the kernels are imported: what is edited later does not run in this
    process, and its name must not be given to what does.
    """
    here = Path(__file__).parent
    files = sorted(here.glob("*.py")) or [_holder(here)]
    digest = hashlib.sha256()
    for file in files:
        text = file.read_bytes()
        digest.update(f"{file.name} {len(text)} ".encode())
        digest.update(text)
    return digest.hexdigest()


def _holder(directory):
    """The one file that holds the package: a zip archive, or a program into which it is frozen."""
    files = [parent for parent in directory.parents if parent.is_file()]
    if getattr(sys, "frozen", False):
        files.append(Path(sys.executable))
    if not files:
        raise FileNotFoundError(f"no source files were found in {directory}")
    return files[0]


@cache
def _sources_run():
    """Whether what Python runs is what the files say.

    Python takes bytecode from ``__pycache__`` if size and time, in whole seconds, are those of the
    file. Code compiled from bytecode of an earlier text must not be found by the present one.
    """
    modules = [m for name, m in sys.modules.items() if name.startswith(f"{__package__}.")]
    return all(map(_source_runs, modules))


def _source_runs(module):
    loader, name = module.__spec__.loader, module.__name__
    if not isinstance(loader, SourceFileLoader):
        return True  # from an archive or a program: there is no second file beside it
    path = loader.get_filename(name)
    return loader.get_code(name) == loader.source_to_code(loader.get_data(path), path)


@cache
def _can_be_written(directory):
    try:
        os.makedirs(directory, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError:
        return False
    return True


class _Locator(_CacheLocator):
    """Numba's three directories in its order, of which it would take the first it can write to."""

    def __init__(self, function, file):
        self._py_file = file  # Numba names it in a warning
        self._line = function.__code__.co_firstlineno
        below = self.get_suitable_cache_subpath(file)
        user = AppDirs(appname="numba", appauthor=False).user_cache_dir
        self.directories = [
            os.path.join(os.path.dirname(file), "__pycache__"),
            os.path.join(user, below),
        ]
        if config.CACHE_DIR:
            self.directories.insert(0, os.path.join(config.CACHE_DIR, below))

    @classmethod
    def from_function(cls, function, file):
        return cls(function, file)

    def get_cache_path(self):
        return self.directories[0]

    def get_source_stamp(self):
        return contents()

    def get_disambiguator(self):
        return str(self._line)

    def ensure_cache_path(self):
        pass  # _Files does, for the directory that it writes to


class _Locating(CompileResultCacheImpl):
    _locator_classes = [_Locator]


class _Files:
    """One kernel's files in the first directory that can be written to, and in those before it.

    Stands in for Numba's ``IndexDataCacheFile``, which knows one directory.
    """

    def __init__(self, directories, name):
        self._files = {place: IndexDataCacheFile(place, name, contents()) for place in directories}

    def load(self, key):
        for directory, files in self._files.items():
            try:
                found = files.load(key)
            except Exception:  # whoever cannot write there cannot mend it
                if _can_be_written(directory):
                    raise
                continue
            # Processes that write at once may have left one's code under the other's name.
            if found is not None and found[:2] == (contents(), key):
                return found[2]
            if _can_be_written(directory):
                break
        return None

    def save(self, key, data):
        if not _sources_run():
            raise OSError(
                f"Python runs bytecode of an earlier source in {os.path.dirname(__file__)}"
                f"{os.sep}__pycache__, which is to be removed"
            )
        self._writable().save(key, (contents(), key, data))

    def flush(self):
        self._writable().flush()

    def _writable(self):
        for directory, files in self._files.items():
            if _can_be_written(directory):
                os.makedirs(directory, exist_ok=True)  # it may have been removed since
                return files
        raise OSError(f"cannot write to any of {', '.join(self._files)}")


class StoredCode(FunctionCache):
    """Numba's cache, but a file that cannot be read or written costs time rather than the fit.

    What cannot be written is told to ``complain``, once per attempt.
    """

    _impl_class = _Locating

    def __init__(self, function, complain):
        super().__init__(function)
        locator = self._impl.locator  # another one if NUMBA_CACHE_LOCATOR_CLASSES is set
        directories = getattr(locator, "directories", None) or [locator.get_cache_path()]
        self._cache_file = _Files(directories, self._impl.filename_base)
        self._complain = complain

    def load_overload(self, *args):
        try:
            return super().load_overload(*args)
        except Exception:  # cut off by a full disk, or naming classes that are no more
            try:
                self.flush()
            except OSError as error:
                self._complain(error)
            return None

    def save_overload(self, *args):
        try:
            super().save_overload(*args)
        except Exception as error:
            self._complain(error)
