"""Put the database's password where the services find it: one's own if there is one, else a random one, made once.

Usage: make_password.py OWN TARGET. OWN is a file with one's own password, or an empty one. It runs in the service
`secrets` of docker-compose.yml, with Python's standard library alone.
"""

import os
import secrets
import sys
from pathlib import Path


def main(own_file: Path, target: Path) -> str | None:
    """Write `target` unless it is there; a line that says what is wrong, or None."""
    try:
        own = own_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        return f"your own password cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}"
    if own and not own.isprintable():
        return "your own password must be a single line without control characters"
    if target.exists():
        if own and own != target.read_text(encoding="utf-8"):
            return (
                "the database was made with another password; docs/containers.md says how to change it, or "
                "`docker compose down --volumes` deletes it and all studies"
            )
        return None
    unfinished = target.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.write_text(own or secrets.token_urlsafe(32), encoding="utf-8")
    unfinished.chmod(0o444)  # other services, other users; whoever has the volume is meant to read it
    os.replace(unfinished, target)
    return None


if __name__ == "__main__":
    wrong = main(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.exit(None if wrong is None else f"secrets: {wrong}")
