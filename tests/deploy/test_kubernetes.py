"""The Kubernetes overlays: valid by the schemas of several versions, and as confined as they say."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from studies.cli import app
from tests.deploy.overlay import Document, containers, pod_spec, render

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
RENDERERS = [command for command in (["kubectl", "kustomize"], ["kustomize", "build"]) if shutil.which(command[0])]
# The oldest and the newest that the schemas at hand know, among those whose Pod Security admission we rely on.
VERSIONS = ("1.25", "1.37")

overlays = pytest.mark.parametrize("overlay", OVERLAYS)


def documents(overlay: str) -> list[Document]:
    return render(KUBERNETES / "overlays" / overlay)


def of_kind(overlay: str, kind: str) -> dict[str, Document]:
    return {d["metadata"]["name"]: d for d in documents(overlay) if d["kind"] == kind}


def pods(overlay: str) -> dict[str, Document]:
    """The pod specifications of all that starts pods, by name."""
    return {d["metadata"]["name"]: pod for d in documents(overlay) if (pod := pod_spec(d)) is not None}


def test_there_are_the_overlays_that_the_docs_name() -> None:
    assert OVERLAYS == ["cpu", "external-postgres", "gpu"]


@pytest.mark.skipif(not RENDERERS, reason="neither kubectl nor kustomize is here to compare with")
@overlays
def test_our_small_renderer_agrees_with_the_real_one(overlay: str) -> None:
    command = [*RENDERERS[0], str(KUBERNETES / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    def ordered(found: list[Document]) -> list[str]:
        return sorted(json.dumps(document, sort_keys=True) for document in found)

    assert ordered(documents(overlay)) == ordered(list(yaml.safe_load_all(done.stdout)))


@pytest.mark.parametrize("version", VERSIONS)
@overlays
def test_every_document_is_valid(overlay: str, version: str) -> None:
    found = documents(overlay)
    for document in found:
        kubernetes_validate.validate(document, version, strict=True)
    assert len({(d["kind"], d["metadata"]["name"]) for d in found}) == len(found), "two of one name"


def test_the_validation_would_notice() -> None:
    (workers,) = (d for d in documents("cpu") if d["kind"] == "Deployment" and d["metadata"]["name"] == "workers")
    workers["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(workers, VERSIONS[-1], strict=True)


@overlays
def test_pods_are_confined(overlay: str) -> None:
    assert pods(overlay).keys() >= {"workers", "dashboard", "migrate"}
    for name, pod in pods(overlay).items():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] == context["runAsGroup"] == (999 if name == "postgres" else 10001), name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"}, name
        assert not any("hostPath" in volume for volume in pod["volumes"]), name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name
    (namespace,) = of_kind(overlay, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@overlays
def test_passwords_come_from_a_file_that_the_repository_does_not_have(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    for name, pod in pods(overlay).items():
        mounted = [volume for volume in pod["volumes"] if "secret" in volume]
        assert [volume["secret"]["secretName"] for volume in mounted] == ["rigl-study-postgres"], name
        for container in pod["containers"]:
            assert not any("secretKeyRef" in variable.get("valueFrom", {}) for variable in container.get("env", ()))
            assert not any("secretRef" in source for source in container.get("envFrom", ())), name
            (mount,) = (m for m in container["volumeMounts"] if m["name"] == mounted[0]["name"])
            assert (mount["mountPath"], mount["readOnly"]) == ("/run/secrets/rigl-study", True)
    for config in of_kind(overlay, "ConfigMap").values():
        assert config["data"]["RIGL_STUDY_STORAGE_PASSWORD_FILE"] == "/run/secrets/rigl-study/password"
        assert re.match(r"postgresql://rigl@", config["data"]["RIGL_STUDY_STORAGE"]), "no password in the URL"


def test_no_file_holds_a_password() -> None:
    for path in KUBERNETES.rglob("*.yaml"):
        text = path.read_text()
        assert "stringData" not in text, path
        assert not re.search(r"://[^\s/@]+:[^\s/@]+@", text), path
        assert not re.search(r"kind: Secret$", text, re.MULTILINE), path


@overlays
def test_nothing_is_reached_from_outside(overlay: str) -> None:
    for name, service in of_kind(overlay, "Service").items():
        assert service["spec"].get("type", "ClusterIP") == "ClusterIP", name
        assert "externalIPs" not in service["spec"], name
    assert not of_kind(overlay, "Ingress")
    policies = of_kind(overlay, "NetworkPolicy")
    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    entrances = {name: p["spec"]["ingress"] for name, p in policies.items() if "ingress" in p["spec"]}
    expected = set() if overlay == "external-postgres" else {"postgres-answers"}
    assert entrances.keys() == expected, "only the database is reached over the network"
    for rules in entrances.values():
        for rule in rules:
            assert rule["from"] == [{"podSelector": {"matchLabels": {"rigl-study/uses-postgres": "true"}}}]
    for name, policy in policies.items():
        for rule in policy["spec"].get("egress", ()):
            assert {port["port"] for port in rule["ports"]} <= {53, 5432}, name
            assert all("0.0.0.0/0" not in json.dumps(target) for target in rule["to"]), name
    (dashboard,) = pods(overlay)["dashboard"]["containers"]
    assert "--host=127.0.0.1" in dashboard["args"], "it has no login"


@overlays
def test_policies_services_and_budgets_select_pods_that_exist(overlay: str) -> None:
    labels = [d["spec"]["template"]["metadata"]["labels"] for d in documents(overlay) if pod_spec(d) is not None]

    def selected(selector: dict[str, str]) -> bool:
        return any(selector.items() <= own.items() for own in labels)

    for d in documents(overlay):
        if d["kind"] == "Service":
            assert selected(d["spec"]["selector"]), d["metadata"]["name"]
        elif d["kind"] == "PodDisruptionBudget":
            assert selected(d["spec"]["selector"]["matchLabels"]), d["metadata"]["name"]
        elif d["kind"] == "NetworkPolicy":
            assert selected(d["spec"]["podSelector"].get("matchLabels", {})), d["metadata"]["name"]
        elif d["kind"] in ("Deployment", "StatefulSet"):
            own = d["spec"]["template"]["metadata"]["labels"]
            assert d["spec"]["selector"]["matchLabels"].items() <= own.items()
    budgets = {"workers"} if overlay == "external-postgres" else {"workers", "postgres"}
    assert of_kind(overlay, "PodDisruptionBudget").keys() == budgets


@overlays
def test_everything_mounted_and_named_exists(overlay: str) -> None:
    claims = of_kind(overlay, "PersistentVolumeClaim")
    for document in documents(overlay):
        pod = pod_spec(document)
        if pod is None:
            continue
        templates = document["spec"].get("volumeClaimTemplates", ())
        volumes = {volume["name"] for volume in [*pod["volumes"], *(t["metadata"] for t in templates)]}
        for volume in pod["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
        for container in containers(document):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            for source in container.get("envFrom", ()):
                assert source["configMapRef"]["name"] in of_kind(overlay, "ConfigMap")


@overlays
def test_workers_share_checkpoints_and_only_read_data(overlay: str) -> None:
    pod = pods(overlay)["workers"]
    (worker,) = pod["containers"]
    mounts = {mount["mountPath"]: mount for mount in worker["volumeMounts"]}
    assert mounts["/data"]["readOnly"] is True
    assert "readOnly" not in mounts["/checkpoints"]
    assert of_kind(overlay, "PersistentVolumeClaim")["checkpoints"]["spec"]["accessModes"] == ["ReadWriteMany"]
    assert pod["terminationGracePeriodSeconds"] >= 60
    gpus = worker["resources"]["limits"].get("nvidia.com/gpu")
    assert (gpus, f"--device={'cpu' if overlay == 'cpu' else 'cuda'}" in worker["args"]) == (
        None if overlay == "cpu" else 1,
        True,
    )
    health = f"--health-file={worker['livenessProbe']['exec']['command'][-1]}"
    assert health in worker["args"]
    assert worker["livenessProbe"]["exec"]["command"][:2] == ["rigl-study", "health"]


def called(overlay: str) -> list[list[str]]:
    """Every call of rigl-study in an overlay: arguments of containers with its images, and probes."""
    calls = []
    for pod in pods(overlay).values():
        for container in pod["containers"]:
            if container["image"].startswith("rigl-study"):
                calls.append(container["args"])
            for probe in ("startupProbe", "livenessProbe"):
                command = container.get(probe, {}).get("exec", {}).get("command", [])
                if command[:1] == ["rigl-study"]:
                    calls.append(command[1:])
    return calls


@overlays
def test_the_commands_and_options_exist(overlay: str) -> None:
    helps: dict[tuple[str, ...], Any] = {}
    for arguments in called(overlay):
        words = tuple(word for word in arguments if re.fullmatch(r"[a-z]+", word))
        if words not in helps:
            helps[words] = CliRunner().invoke(app, [*words, "--help"])
        assert helps[words].exit_code == 0, (words, helps[words].stderr)
        for option in (word.partition("=")[0] for word in arguments if word.startswith("--")):
            assert option in helps[words].stdout, (words, option)
    assert len(helps) >= 3
