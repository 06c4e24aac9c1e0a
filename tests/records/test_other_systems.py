"""What Windows has not: Unix's modules and flags, folders that can be opened, open files that can be renamed."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import tfprune.errors

PACKAGE = Path(tfprune.errors.__file__).parent
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"}
OS_NAMES = {
    *("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY", "O_SYNC", "O_NOATIME", "mkfifo", "mknod", "fork"),
    *("getuid", "geteuid", "getgid", "getegid", "uname", "statvfs", "killpg", "setsid", "getpgid", "nice", "chown"),
    *("sysconf", "getloadavg", "sched_getaffinity", "kill", "fchmod", "fchown", "lockf", "posix_fallocate", "wait3"),
}
SIGNALS = {"SIGKILL", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGCHLD", "SIGTSTP", "alarm"}


def _used(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (("module", alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield "module", node.module.split(".")[0]
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr


@pytest.mark.parametrize("part", sorted({path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")}))
def test_no_module_needs_what_only_unix_has(part):
    unix = {("module", name) for name in MODULES} | {("os", name) for name in OS_NAMES}
    unix |= {("signal", name) for name in SIGNALS}
    found = {}
    for path in [PACKAGE / part] if (PACKAGE / part).is_file() else (PACKAGE / part).rglob("*.py"):
        found[str(path)] = set(_used(ast.parse(path.read_text(encoding="utf-8")))) & unix
    assert found and not any(found.values()), found


SCRIPT = """
import errno, json, os, pkgutil, shutil, sys
import portalocker  # how it locks is its own affair

place = os.path.realpath(sys.argv[1])
for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY"):
    delattr(os, name)
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
shutil._use_fd_functions = False

def is_open(path):
    path = os.path.realpath(path)
    inner = os.path.join(path, "")
    names = []
    for name in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            pass
    return any(name == path or name.startswith(inner) for name in names)

def strict(name):
    usual = getattr(os, name)
    def change(path, *rest, **more):
        if is_open(path) or (rest and isinstance(rest[0], str | os.PathLike) and is_open(rest[0])):
            refusals.append(name)
            raise PermissionError(errno.EACCES, "it is open", path)
        return usual(path, *rest, **more)
    return change

usual_open = os.open
def no_folders(path, flags, *rest, **more):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "it is a folder", path)
    return usual_open(path, flags, *rest, **more)

refusals = []
for name in ("replace", "rename", "unlink", "rmdir"):
    setattr(os, name, strict(name))
os.open = no_folders

import importlib
import tfprune.cli, tfprune.records
for package in (tfprune.records, tfprune.cli):
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
from pathlib import Path
from tfprune.errors import InputError
from tfprune.records.arrays import read_npz, write_npz
from tfprune.records.atomic import atomic_copy, atomic_write_text, remove_stale_temporaries, temporary_folder
from tfprune.records.lock import FileLock
from tfprune.records.reading import read_json, read_text

place = Path(place)
for text in ("first", "second\\r\\n\\x1a end"):
    atomic_write_text(place / "a", text)
    assert read_text(place / "a") == text
write_npz(place / "b.npz", {"c": __import__("numpy").arange(3)})
write_npz(place / "b.npz", {"c": __import__("numpy").arange(4) + read_npz(place / "b.npz")["c"].sum()})
for _ in range(2):
    with temporary_folder() as folder:
        (folder / "deep").mkdir()
        atomic_write_text(folder / "deep" / "d", "d")
        atomic_copy(folder, place / "copy")
try:
    read_text(place)
except InputError as error:
    told = str(error)
lock = FileLock(place / "lock")
try:
    FileLock(place / "lock")
except BlockingIOError:
    lock.remove()
(place / ".x.tfprune-tmp-01234567").write_text("left")
(place / ".y.tfprune-tmp-01234567").mkdir()
removed = [path.name for path in remove_stale_temporaries(place)]
content = read_npz(place / "b.npz")["c"].tolist()
left = sorted(str(path.relative_to(place)) for path in place.rglob("*"))
print(json.dumps({"told": told, "content": content, "removed": removed, "left": left, "refusals": refusals}))
"""


def test_records_without_what_windows_has_not(tmp_path):
    """Names of open files cannot be changed, folders not opened, and the flags and modules are missing."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["left"] == ["a", "b.npz", "copy", "copy/deep", "copy/deep/d"]
    assert found["content"] == [3, 4, 5, 6]
    assert found["removed"] == [".x.tfprune-tmp-01234567", ".y.tfprune-tmp-01234567"]
    assert str(tmp_path) in found["told"] and found["told"].startswith("cannot read ")
    assert {"replace", "unlink"} <= set(found["refusals"])  # the world was as strict as it should be
