"""`rigl-study dashboard`: Optuna's dashboard, on this machine."""

import contextlib
from typing import Annotated

import typer

from studies.commands.app import say
from studies.commands.options import Artifacts, Storage, artifact_folder
from studies.commands.storage import opened
from studies.errors import BadInput, NotInstalled


def dashboard(
    storage: Storage = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="TCP port to listen on.")] = 8080,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on. Whoever can reach it can change every study.")
    ] = "127.0.0.1",
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            metavar="NAME[:PORT]",
            envvar="RIGL_STUDY_ALLOWED_HOSTS",
            show_envvar=False,
            help="Answer requests to this host too, the name of a proxy; repeatable. Also: RIGL_STUDY_ALLOWED_HOSTS, "
            "with spaces between.",
        ),
    ] = None,
    artifacts: Artifacts = None,
) -> None:
    """Browse all studies with Optuna's dashboard, on this machine only unless --host says otherwise.

    It answers only to localhost, to the addresses of this machine and to what --host and --allowed-host name: web
    pages elsewhere cannot reach it through your browser.

    It shows what `report --attach` attached: verdicts as notes, pages and figures as artifacts.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError:
        raise NotInstalled(
            "the dashboard is not installed; run: pip install 'rigl-study[dashboard]' (in a clone: pip install "
            "'.[dashboard]')."
        ) from None
    from optuna.artifacts import FileSystemArtifactStore

    from studies.dashboard_guard import allowed_hosts
    from studies.dashboard_server import listen

    allowed = allowed_hosts(allowed_host or ())
    folder = artifact_folder(artifacts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f'"{folder}" cannot hold artifacts: {error.strerror}; choose another with --artifacts.'
        ) from None
    with opened(storage) as database:
        # Handed over as an object: a URL on a command line would show its password to every user of the machine.
        application = wsgi(database, artifact_store=FileSystemArtifactStore(folder))
        try:
            server = listen(host, port, application, allowed)
        except (OSError, UnicodeError) as error:
            raise BadInput(f"cannot listen on {host}:{port}: {error}; choose another --port or --host.") from None
        with server:
            say(f"dashboard on http://{host}:{server.server_port}/ until Ctrl-C")
            with contextlib.suppress(KeyboardInterrupt):  # the way to end it
                server.serve_forever()
