"""The JSON documents of the Hub's API, as far as its clients read them."""

from __future__ import annotations

import hashlib
from typing import Any

from lab.hub.access import Account
from lab.hub.repository import File, Repository, Revision, parameters

_CREATED = "2025-09-01T12:00:00.000Z"


def info(repository: Repository, revision: Revision, *, blobs: bool, expand: list[str]) -> dict[str, Any]:
    """/api/models/ID[/revision/REV]; with `expand` only what it names."""
    config = repository.model.config
    counted = parameters(revision.files.values()) if not expand or "safetensors" in expand else {}
    tags = ["transformers", "safetensors", config["model_type"], "text-generation"]
    if repository.model.code:
        tags.append("custom_code")
    whole = {
        "author": repository.id.split("/")[0],
        "sha": revision.commit,
        "lastModified": revision.date,
        "createdAt": _CREATED,
        "private": repository.private,
        "gated": repository.gated or False,
        "disabled": False,
        "downloads": 1,
        "likes": 1,
        "tags": tags,
        "pipeline_tag": "text-generation",
        "library_name": "transformers",
        "config": {key: config[key] for key in ("architectures", "model_type")}
        | {key: {"quant_method": value["quant_method"]} for key, value in config.items() if _quantised(key)},
        "safetensors": {"parameters": counted, "total": sum(counted.values())},
        "usedStorage": sum(file.size for file in revision.files.values()),
        "siblings": [_sibling(file, blobs) for file in revision.files.values()],
    }
    identity = {"_id": object_id(repository.id), "id": repository.id}
    if expand:
        return {**identity, **{key: whole[key] for key in expand if key in whole}}
    return {**identity, "modelId": repository.id, **whole}


def _quantised(key: str) -> bool:
    return key == "quantization_config"


def _sibling(file: File, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": file.path}
    entry: dict[str, Any] = {"rfilename": file.path, "size": file.size, "blobId": file.blob}
    if file.lfs:
        entry["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return entry


def tree(revision: Revision, folder: str, *, recursive: bool, expand: bool) -> list[dict[str, Any]] | None:
    """/api/models/ID/tree/REV[/FOLDER], all pages; None where there is no such folder."""
    prefix = f"{folder}/" if folder else ""
    inside = [path for path in revision.files if path.startswith(prefix)]
    if prefix and not inside:
        return None
    folders = {
        path[:place] for path in inside for place in range(len(prefix), len(path)) if path[place] == "/"
    }
    names = sorted({*inside, *folders})
    if not recursive:
        names = [name for name in names if "/" not in name[len(prefix) :]]
    return [entry(revision, name, expand=expand) for name in names]


def entry(revision: Revision, path: str, *, expand: bool) -> dict[str, Any]:
    """A file or a folder of a tree or of paths-info."""
    file = revision.files.get(path)
    if file is None:
        inside = "".join(name for name in revision.files if name.startswith(f"{path}/"))
        oid = hashlib.sha1(inside.encode(), usedforsecurity=False).hexdigest()
        found: dict[str, Any] = {"type": "directory", "oid": oid, "size": 0, "path": path}
    else:
        found = {"type": "file", "oid": file.blob, "size": file.size, "path": path}
        if file.lfs:
            found["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    if expand:
        found["lastCommit"] = {"id": revision.commit, "title": revision.title, "date": revision.date}
        if file is not None:
            scan = {"status": "safe", "avScan": None, "pickleImportScan": None}
            found["securityFileStatus"] = scan
    return found


def paths(revision: Revision, wanted: list[str], *, expand: bool) -> list[dict[str, Any]]:
    """/api/models/ID/paths-info/REV: what there is of the paths, without an error for the others."""
    there = [
        path
        for path in (word.strip("/") for word in wanted)
        if path in revision.files or any(name.startswith(f"{path}/") for name in revision.files)
    ]
    return [entry(revision, path, expand=expand) for path in there]


def refs(repository: Repository) -> dict[str, Any]:
    """/api/models/ID/refs."""

    def listed(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}
            for name, commit in names.items()
        ]

    return {
        "branches": listed("heads", repository.branches),
        "tags": listed("tags", repository.tags),
        "converts": [],
        "pullRequests": [],
    }


def whoami(account: Account) -> dict[str, Any]:
    """/api/whoami-v2."""
    token = {"displayName": "lab", "role": "read", "createdAt": _CREATED}
    return {
        "type": "user",
        "id": object_id(account.name),
        "name": account.name,
        "fullname": account.name,
        "isPro": False,
        "orgs": [],
        "auth": {"type": "access_token", "accessToken": token},
    }


def object_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:24]
