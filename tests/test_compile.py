"""Compiled code: found by what its sources say, on any disk; and ways out when Numba changes.

Every test runs new processes on a copy of the modules that compile and two small ones of its own,
so that nothing depends on which kernels the package has.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numba
import pytest

from skrecurrent import _kernels
from skrecurrent._kernels import _compile, _storage
from tests.common import needs_compiled_code

pytestmark = needs_compiled_code

PART = """
from skrecurrent._kernels._compile import part

NUMBER = 1.0

@part
def plus_number(value):
    return value + NUMBER
"""

KERNEL = """
from skrecurrent._kernels._compile import kernel
from skrecurrent._kernels.small_part import plus_number

@kernel
def small(value):
    return plus_number(value) / 2
"""

# ``before`` is run first. Signatures are compiled one by one: for a real number, for an integer.
USE = """
import builtins, json, os, sys, tempfile, warnings
{before}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from skrecurrent._kernels import _compile
    from skrecurrent._kernels.small_kernel import small
    results = [small(value) for value in {values}]
print(json.dumps(dict(
    results=results,
    warnings=[str(warning.message) for warning in caught],
    hits=sum(small.stats.cache_hits.values()),
    compiled=sum(small.stats.cache_misses.values()),
    parts=sorted(_compile._FOR_PARTS),
)))
"""

# As if what lies below could only be read. (A true read-only file system takes a mount.)
READ_ONLY = """
import errno

def refusing(function, names, is_writing=lambda *args, **kwargs: True):
    def refused(*args, **kwargs):
        place = os.fspath(kwargs.get("dir") or args[0])
        if place.startswith(tuple(names)) and is_writing(*args, **kwargs):
            raise OSError(errno.EROFS, "Read-only file system", place)
        return function(*args, **kwargs)
    return refused

names = {names!r}
builtins.open = refusing(open, names, lambda file, mode="r", *args, **kwargs: "r" not in mode)
tempfile.TemporaryFile = refusing(tempfile.TemporaryFile, names)
os.makedirs = refusing(os.makedirs, names, lambda name, *args, **kwargs: not os.path.isdir(name))
os.replace = refusing(os.replace, names)
"""


class Copy:
    """What is needed to compile, in a directory of its own, and the places for compiled code."""

    def __init__(self, root):
        self.root = root
        self.kernels = root / "app" / "skrecurrent" / "_kernels"
        self.beside = self.kernels / "__pycache__"
        self.user = root / "home"
        self.chosen = root / "chosen"
        self.kernels.mkdir(parents=True)
        (self.kernels.parent / "__init__.py").touch()
        source = Path(_kernels.__file__).parent
        for name in ("__init__.py", "_compile.py", "_parts.py", "_storage.py"):
            shutil.copy(source / name, self.kernels)
        self.part = self.kernels / "small_part.py"
        self.part.write_text(PART)
        (self.kernels / "small_kernel.py").write_text(KERNEL)
        self.environment = os.environ | {
            "PYTHONPATH": str(root / "app"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.user),
            "XDG_CACHE_HOME": str(self.user / "cache"),
        }
        self.environment.pop("NUMBA_CACHE_DIR", None)

    def use(self, values="[3.0]", before="", read_only=(), **environment):
        """What a new process finds; below some directories it can only read."""
        if read_only:
            before += READ_ONLY.format(names=[str(name) for name in read_only])
        done = subprocess.run(
            [sys.executable, "-c", USE.format(before=textwrap.dedent(before), values=values)],
            cwd=self.root,
            env=self.environment | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def edit(self, before, after, path=None):
        """Edit a file and give it its old times back."""
        path = path or self.part
        status, text = path.stat(), path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


def files_in(directory):
    return sorted(directory.rglob("*.nb[ci]"))


def assert_compiled(found, hits=0, compiled=1, results=(2.0,)):
    assert found["warnings"] == []
    assert (found["hits"], found["compiled"]) == (hits, compiled)
    assert found["results"] == list(results)


def assert_loaded(found, results=(2.0,)):
    assert_compiled(found, hits=len(results), compiled=0, results=results)


# Found by contents


def test_code_is_found_whatever_the_times_of_the_files_are(copy):
    """An image layer keeps whole seconds."""
    assert_compiled(copy.use())
    for file in copy.kernels.glob("*.py"):
        os.utime(file, (1_700_000_000, 1_700_000_000))
    assert_loaded(copy.use())


def test_an_edit_of_another_file_that_keeps_size_and_time_does_not_run_old_code(copy):
    assert_compiled(copy.use())
    copy.edit("NUMBER = 1.0", "NUMBER = 5.0")
    assert_compiled(copy.use(), results=[4.0])
    assert_loaded(copy.use(), results=[4.0])
    copy.edit("NUMBER = 5.0", "NUMBER = 1.0")
    assert_compiled(copy.use())
    assert len(files_in(copy.beside)) == 2  # what is old is written over


def test_edits_of_options_are_noticed(copy):
    assert_compiled(copy.use())
    copy.edit('"nogil": True', '"nogil": 1 > 0', copy.kernels / "_compile.py")
    assert_compiled(copy.use())


def test_code_from_bytecode_of_an_earlier_source_is_not_kept(copy):
    """Python itself does not notice such an edit; it must not become a lasting mistake."""
    copy.use(before="sys.dont_write_bytecode = False")
    copy.edit("NUMBER = 1.0", "NUMBER = 5.0")
    found = copy.use()
    assert found["results"] == [2.0]
    assert "bytecode of an earlier source" in found["warnings"][0]
    for file in copy.beside.glob("*.pyc"):
        file.unlink()
    assert_compiled(copy.use(), results=[4.0])


def test_code_of_another_signature_under_a_files_name_is_not_run(copy):
    """Two processes that write at once can leave that behind."""
    assert_compiled(copy.use("[3.0, 3]"), compiled=2, results=[2.0, 2.0])
    one, other = copy.beside.glob("*.nbc")
    code = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(code)
    assert_compiled(copy.use("[3.0, 3]"), compiled=2, results=[2.0, 2.0])
    assert_loaded(copy.use("[3.0, 3]"), results=[2.0, 2.0])


def test_code_of_a_package_in_an_archive_is_kept_for_the_user(copy):
    archive = copy.root / "package.zip"

    def write():
        with zipfile.ZipFile(archive, "w") as file:
            for source in (copy.root / "app").rglob("*.py"):
                file.write(source, source.relative_to(copy.root / "app"))

    write()
    assert_compiled(copy.use(PYTHONPATH=str(archive)))
    assert_loaded(copy.use(PYTHONPATH=str(archive)))
    assert len(files_in(copy.user)) == 2
    copy.edit("NUMBER = 1.0", "NUMBER = 5.0")
    write()
    assert_compiled(copy.use(PYTHONPATH=str(archive)), results=[4.0])


def test_a_frozen_program_is_its_own_source(monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match="no source files"):
        _storage._holder(tmp_path)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert _storage._holder(tmp_path) == Path(sys.executable)


# Directories that can only be read, or not at all


@pytest.mark.parametrize("chosen", [False, True])
def test_a_filled_directory_that_can_only_be_read_is_used(copy, chosen):
    environment = {"NUMBA_CACHE_DIR": str(copy.chosen)} if chosen else {}
    assert_compiled(copy.use(**environment))
    assert len(files_in(copy.chosen if chosen else copy.beside)) == 2
    assert_loaded(copy.use(read_only=[copy.root], **environment))
    assert files_in(copy.user) == []


def test_what_is_missing_in_it_is_kept_in_the_next_directory(copy):
    assert_compiled(copy.use())
    read_only = [copy.kernels]
    both = {"results": [2.0, 2.0]}
    assert_compiled(copy.use("[3.0, 3]", read_only=read_only), hits=1, compiled=1, **both)
    assert len(files_in(copy.beside)) == len(files_in(copy.user)) == 2
    assert_loaded(copy.use("[3.0, 3]", read_only=read_only), **both)


def test_what_is_missing_in_it_costs_one_message_if_nothing_can_be_written(copy):
    copy.use()
    found = copy.use("[3.0, 3, True]", read_only=[copy.root])
    assert found["results"] == [2.0, 2.0, 1.0]
    (message,) = found["warnings"]
    assert "NUMBA_CACHE_DIR" in message


def test_a_chosen_directory_that_is_empty_and_cannot_be_written_to_is_passed_over(copy):
    copy.chosen.mkdir()
    environment = {"NUMBA_CACHE_DIR": str(copy.chosen), "read_only": [copy.chosen]}
    assert_compiled(copy.use(**environment))
    assert len(files_in(copy.beside)) == 2
    assert_loaded(copy.use(**environment))


def test_a_chosen_directory_that_can_be_written_to_is_the_only_one(copy):
    copy.use()
    assert_compiled(copy.use(NUMBA_CACHE_DIR=str(copy.chosen)))


def test_an_edit_is_noticed_by_who_can_only_read(copy):
    assert_compiled(copy.use())
    copy.edit("NUMBER = 1.0", "NUMBER = 5.0")
    assert_compiled(copy.use(read_only=[copy.kernels]), results=[4.0])
    assert len(files_in(copy.user)) == 2


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_files_that_cannot_be_replaced_are_passed_over(copy, suffix):
    copy.use()
    (file,) = copy.beside.glob(f"*{suffix}")
    file.write_bytes(b"not a pickle")
    assert_compiled(copy.use(read_only=[copy.kernels]))
    assert_loaded(copy.use(read_only=[copy.kernels]))


@pytest.mark.parametrize(("suffix", "damage"), [(".nbi", b"not a pickle"), (".nbc", b"")])
def test_damaged_files_are_replaced(copy, suffix, damage):
    copy.use()
    (file,) = copy.beside.glob(f"*{suffix}")
    file.write_bytes(damage)
    assert_compiled(copy.use())
    assert_loaded(copy.use())


def test_no_permission_in_site_packages_means_the_users_directory_is_used(copy):
    copy.beside.write_text("not a directory")
    assert_compiled(copy.use())
    assert len(files_in(copy.user)) == 2
    assert_loaded(copy.use())


def test_without_any_directory_there_is_one_message(copy):
    copy.beside.write_text("not a directory")
    copy.user.write_text("not a directory")
    (message,) = copy.use("[3.0, 3]")["warnings"]
    assert "NUMBA_CACHE_DIR" in message


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot limit the size of files")
def test_a_full_disk_costs_one_message(copy):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    (message,) = copy.use("[3.0, 3]", before=limit)["warnings"]
    assert "NUMBA_CACHE_DIR" in message
    assert_compiled(copy.use())  # and nothing is left behind that harms
    assert_loaded(copy.use())


def test_a_directory_removed_by_another_process_is_made_again(copy):
    removal = f"""
        import atexit, shutil
        from skrecurrent._kernels import _compile
        from skrecurrent._kernels.small_kernel import small
        small(3)
        shutil.rmtree({str(copy.beside)!r})
    """
    assert_compiled(copy.use(before=removal), compiled=2)
    assert len(files_in(copy.beside)) == 2


# Ways out

UNKNOWN = "import numba; numba.__version__ = '0.999.0'\n"

# What may go in a later version of Numba, and what is done then.
WITHOUT_PARTS = {
    "a class is gone": "import numba.core.codegen; del numba.core.codegen.JITCodeLibrary",
    "a method is gone": """
        from numba.core.compiler import CompileResult
        CompileResult._replace = None
    """,
    "an option is gone": """
        njit = numba.njit
        def without(*args, **options):
            if "pipeline_class" in options:
                raise TypeError("pipeline_class")
            return njit(*args, **options)
        numba.njit = without
    """,
    "the code is wrong": """
        import skrecurrent._kernels._parts as parts
        def compile_extra(self, function):
            return super(parts.PartCompiler, self).compile_extra(lambda value: value)
        parts.PartCompiler.compile_extra = compile_extra
    """,
}


@pytest.mark.parametrize("change", WITHOUT_PARTS)
def test_parts_are_compiled_as_usual_if_numba_has_changed(copy, change):
    found = copy.use(before=UNKNOWN + textwrap.dedent(WITHOUT_PARTS[change]))
    assert found["parts"] == []
    assert_compiled(found)


def test_parts_are_tried_out_with_an_unknown_version_only(copy):
    counting = """
        import skrecurrent._kernels._parts as parts
        attempts, once = [], parts.try_out
        parts.try_out = lambda options: attempts.append(once(options))
        import atexit
        atexit.register(lambda: print(len(attempts), file=open("attempts", "w")))
    """
    here = "0" if _compile._is_tested(numba.__version__) else "1"
    for before, attempts in (("", here), (UNKNOWN, "1")):
        found = copy.use(before=before + textwrap.dedent(counting))
        assert found["parts"] == ["pipeline_class"]
        assert_compiled(found)
        assert (copy.root / "attempts").read_text().strip() == attempts


WITHOUT_FILES = {
    "a class is gone": "import numba.core.caching as caching; del caching.IndexDataCacheFile",
    "a class has other arguments": """
        import numba.core.caching as caching
        caching.IndexDataCacheFile.__init__ = lambda self, place: None
    """,
    "it cannot be written": """
        import numba.core.caching as caching
        def save(self, *args):
            raise TypeError("another argument is needed")
        caching.IndexDataCacheFile.save = save
    """,
}


@pytest.mark.parametrize("change", WITHOUT_FILES)
def test_code_is_not_kept_if_numba_has_changed(copy, change):
    found = copy.use("[3.0, 3]", before=WITHOUT_FILES[change])
    assert found["results"] == [2.0, 2.0]
    (message,) = found["warnings"]
    assert "cannot be kept on disk" in message
    assert list(copy.root.rglob("*.nbc")) == []


def test_code_is_not_kept_if_numba_looks_for_it_elsewhere(monkeypatch):
    monkeypatch.setattr(_compile, "_warned", False)
    with pytest.warns(UserWarning, match=r"does not look for it where others do.*NUMBA_CACHE_DIR"):
        _compile._keep_on_disk(SimpleNamespace(), lambda: None)


def test_the_tested_versions_are_those_of_the_requirements():
    project = Path(__file__).parent.parent / "pyproject.toml"
    requirements = tomllib.loads(project.read_text())["project"]["dependencies"]
    (required,) = (text for text in requirements if text.startswith("numba"))
    oldest, beyond = re.fullmatch(r"numba>=0\.(\d+),<0\.(\d+)", required).groups()
    first, last = _compile._TESTED_NUMBA
    assert (first, last) == ((0, int(oldest)), (0, int(beyond) - 1))
    assert not _compile._is_tested(f"0.{beyond}.0rc1")
    assert _compile._is_tested(f"0.{oldest}.0")
