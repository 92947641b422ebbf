"""A small part of kustomize: as much of it as our overlays use, so that the tests need no kubectl.

Resources, components, patches by path (a strategic merge: lists of named things by name, other lists as a whole),
`namespace` and `images`. Anything else is refused. A test compares it with kubectl where there is one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]

KNOWN = {"apiVersion", "kind", "namespace", "resources", "components", "patches", "images"}
CLUSTER_WIDE = {"Namespace"}


def render(folder: Path) -> list[Document]:
    """All documents of the overlay in `folder`."""
    return _apply(folder, [])


def containers(document: Document) -> list[Document]:
    """The containers that a document starts."""
    pod = pod_spec(document)
    return [] if pod is None else [*pod.get("initContainers", []), *pod["containers"]]


def pod_spec(document: Document) -> Document | None:
    """The pod that a document starts, if it does."""
    if document["kind"] == "Pod":
        spec: Document = document["spec"]
        return spec
    found: Document | None = document.get("spec", {}).get("template", {}).get("spec")
    return found


def _apply(folder: Path, documents: list[Document]) -> list[Document]:
    wanted = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := wanted.keys() - KNOWN:
        raise ValueError(f"{folder}: this renderer does not know {sorted(unknown)}")
    for name in wanted.get("resources", ()):
        path = folder / name
        documents = [*documents, *(_apply(path, []) if path.is_dir() else read(path))]
    for name in wanted.get("components", ()):
        documents = _apply(folder / name, documents)
    for patch in wanted.get("patches", ()):
        if patch.keys() != {"path"}:
            raise ValueError(f"{folder}: this renderer knows patches by path only, not {patch}")
        for change in read(folder / patch["path"]):
            (target,) = (document for document in documents if _key(document) == _key(change))
            documents[documents.index(target)] = _merge(target, change)
    for document in documents:
        if "namespace" in wanted and document["kind"] not in CLUSTER_WIDE:
            document["metadata"]["namespace"] = wanted["namespace"]
        for container in containers(document):
            for image in wanted.get("images", ()):
                if container["image"] == image["name"]:
                    container["image"] = f"{image['newName']}:{image['newTag']}"
    return documents


def read(path: Path) -> list[Document]:
    return list(_documents(path))


def _documents(path: Path) -> Iterator[Document]:
    yield from yaml.safe_load_all(path.read_text())


def _key(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def _merge(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: _merge(old[key], value) if key in old else value for key, value in new.items()}}
    if isinstance(old, list) and isinstance(new, list) and all(isinstance(x, dict) and "name" in x for x in old + new):
        named = {item["name"]: item for item in old}
        for item in new:
            named[item["name"]] = _merge(named.get(item["name"], {}), item)
        return list(named.values())
    return new
