"""What the real client reads from the Hub: descriptions, trees, files, refusals."""

import hashlib
import json

import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from lab import models
from lab.engine.tensorrt_llm import checkpoint
from lab.hub.server import Hub
from tests.lab_hub.conftest import MODEL, SHARD, Client

GATED = "lab/gated"
HISTORY = "Qwen/Qwen2.5-14B-Instruct"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_a_model_is(hub, client):
    info = client.api().model_info("openai/gpt-oss-20b", files_metadata=True)
    assert info.sha == models.commit(models.find("openai/gpt-oss-20b"))
    assert (info.gated, info.private, info.disabled) == (False, False, False)
    assert set(info.safetensors.parameters) == {"BF16", "U8"}
    assert info.config["quantization_config"] == {"quant_method": "mxfp4"}
    by_name = {sibling.rfilename: sibling for sibling in info.siblings}
    assert "metal/model.bin" in by_name
    assert by_name["config.json"].lfs is None
    shard = by_name["model-00000-of-00001.safetensors"]
    assert shard.lfs.size == shard.size
    assert client.api().model_info("lab/gated").gated == "manual"
    only = client.api().model_info(MODEL, expand=["sha", "gated"])
    assert only.sha
    assert only.siblings is None


@pytest.mark.parametrize("expand", [False, True])
def test_a_tree_in_pages(tmp_path, expand):
    with Hub(page_size=7) as hub:
        client = Client(hub, tmp_path)
        whole = list(client.api().list_repo_tree("openai/gpt-oss-20b", recursive=True, expand=expand))
        top = list(client.api().list_repo_tree("openai/gpt-oss-20b"))
        metal = list(client.api().list_repo_tree("openai/gpt-oss-20b", "metal"))
        assert sum("tree" in each["path"] for each in hub.requests) >= 4
        with pytest.raises(HfHubHTTPError, match="404"):
            list(client.api().list_repo_tree("openai/gpt-oss-20b", "none"))
    paths = [entry.path for entry in whole]
    assert len(paths) == len(set(paths)) == len(models.files(models.find("openai/gpt-oss-20b"))) + 1
    assert "metal/model.bin" not in [entry.path for entry in top]
    assert [entry.path for entry in metal] == ["metal/model.bin"]
    assert all((entry.last_commit is not None) == expand for entry in whole)


def test_paths_are_looked_up(client):
    found = client.api().get_paths_info("openai/gpt-oss-120b", ["original", "config.json", "none"])
    assert [entry.path for entry in found] == ["original", "config.json"]


def test_revisions_are_branches_tags_and_commits(client):
    refs = client.api().list_repo_refs(HISTORY)
    main = next(branch.target_commit for branch in refs.branches if branch.name == "main")
    tag = refs.tags[0].target_commit
    assert client.api().model_info(HISTORY).sha == main
    assert client.api().model_info(HISTORY, revision="v1.0").sha == tag
    assert client.api().model_info(HISTORY, revision=tag).sha == tag
    assert client.api().model_info(HISTORY, revision="next").sha not in (main, tag)
    old = client.snapshot(HISTORY, revision="v1.0", allow_patterns=["model-00001-*"])
    new = client.snapshot(HISTORY, allow_patterns=["model-00001-*"])
    assert (old.name, new.name) == (tag, main)
    shards = [sha256(next(folder.glob("*.safetensors"))) for folder in (old, new)]
    assert shards[0] != shards[1]


def test_a_snapshot_is_what_the_tree_says_and_the_engine_loads_it(client):
    folder = client.snapshot("deepseek-ai/DeepSeek-V3")
    listed = list(client.api().list_repo_tree("deepseek-ai/DeepSeek-V3", recursive=True))
    for entry in listed:
        path = folder / entry.path
        assert path.stat().st_size == entry.size
        assert path.resolve().name == (entry.lfs.sha256 if entry.lfs else entry.blob_id)
        if entry.lfs:
            assert sha256(path) == entry.lfs.sha256
    checkpoint.load_weights(folder)
    assert (folder / "modeling_deepseek.py").is_file()


def test_only_what_was_asked_for(hub, client):
    folder = client.snapshot(
        "openai/gpt-oss-120b", allow_patterns=["*.json", "*.safetensors"], ignore_patterns=["original/*"]
    )
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert "config.json" in names
    assert not any(name.startswith("original/") or name.endswith(".md") for name in names)
    hub.requests.clear()
    client.snapshot("openai/gpt-oss-120b", allow_patterns=["*.json"], ignore_patterns=["original/*"])
    assert [each["place"] for each in hub.requests] == ["api"]  # nothing is fetched twice


def test_what_the_nodes_have_from_the_start_is_the_hubs(hub, client, tmp_path):
    models.write(tmp_path / "home")
    client.cache = tmp_path / "home/hub"
    folder = client.snapshot(MODEL, allow_patterns=["*.json", "*.safetensors"])
    assert folder.name == models.commit(models.find(MODEL))
    assert {each["place"] for each in hub.requests} == {"api"}


@pytest.mark.parametrize(
    ("model", "total"),
    [("openai/gpt-oss-120b", None), ("nvidia/Qwen3-8B-FP4", None), ("Qwen/Qwen3-30B-A3B-FP8", None),
     ("google/gemma-3-1b-it", None), ("lab/gpt-oss-120b-true-size", 65_248_815_744),
     ("Qwen/Qwen2.5-72B-Instruct", 145_412_407_296)],
)  # fmt: skip
def test_safetensors_metadata(hub, client, model, total):
    found = client.api(hub.tokens.granted).get_safetensors_metadata(model)
    size = sum(
        tensor.data_offsets[1] - tensor.data_offsets[0]
        for file in found.files_metadata.values()
        for tensor in file.tensors.values()
    )
    stored = sum(entry.size for entry in client.api().list_repo_tree(model)
                 if entry.path.endswith(".safetensors"))  # fmt: skip
    assert 0 < size < stored
    if total:
        assert size == found.metadata["total_size"] == total


def test_a_file_of_which_only_the_header_is_here_is_refused(client):
    with pytest.raises(HfHubHTTPError, match="holds its header only"):
        client.file("model-00001-of-00037.safetensors", "Qwen/Qwen2.5-72B-Instruct")


def test_a_missing_model(hub, client):
    for token in (False, hub.tokens.newcomer):
        with pytest.raises(RepositoryNotFoundError):
            client.snapshot("lab/none", token)


def test_a_missing_revision_and_a_missing_file(client):
    with pytest.raises(RevisionNotFoundError):
        client.snapshot(revision="none")
    with pytest.raises(RemoteEntryNotFoundError):
        client.file("none.json")
    assert not client.api().file_exists(MODEL, "none.json")


def test_a_gated_model(hub, client):
    for token, status in ((False, 401), (hub.tokens.newcomer, 403)):
        with pytest.raises(GatedRepoError) as caught:
            client.snapshot(GATED, token)
        assert caught.value.response.status_code == status
        with pytest.raises(GatedRepoError):
            client.api(token).auth_check(GATED)
    assert "ask for access" in str(caught.value)
    assert client.api().model_info(GATED).sha  # its description is everybody's
    client.api(hub.tokens.granted).auth_check(GATED)
    assert (client.snapshot(GATED, hub.tokens.granted) / SHARD).is_file()


def test_a_private_model(hub, client):
    for token in (False, hub.tokens.newcomer):
        with pytest.raises(RepositoryNotFoundError):
            client.api(token).model_info("lab/private")
    assert client.api(hub.tokens.granted).model_info("lab/private").private


def test_a_wrong_token(hub, client):
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as caught:
        client.snapshot(token="hf_wrong")
    assert caught.value.response.status_code == 401
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        client.api("hf_wrong").whoami()
    assert client.api(hub.tokens.granted).whoami()["name"] == "lab-member"


def test_the_token_never_reaches_the_cdn(hub, client):
    client.snapshot(GATED, hub.tokens.granted)
    seen = {(each["place"], each["token"]) for each in hub.requests}
    assert seen == {("api", True), ("resolve", True), ("cdn", False)}


def test_the_command(hub, client):
    done = client.hf("download", MODEL, "--include", "*.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1].endswith(models.commit(models.find(MODEL)))
    refused = client.hf("download", GATED, token=hub.tokens.newcomer)
    assert refused.returncode == 1
    assert "requires approval" in refused.stderr
    assert hub.tokens.newcomer not in refused.stdout + refused.stderr


def test_the_commands_verification_finds_a_file_that_differs_from_its_checksum(client):
    name = "lab/wrong-checksum"
    folder = client.snapshot(name)  # the client itself compares sizes only
    checkpoint.load_weights(folder)
    done = client.hf("cache", "verify", name)
    assert done.returncode == 1
    assert "model-00002-of-00002.safetensors" in done.stdout + done.stderr
    client.snapshot(MODEL)
    assert client.hf("cache", "verify", MODEL).returncode == 0


def test_no_shared_blobs_without_xet(client):
    """The client's cache-wide store is for Xet files only; the lab's Hub has none."""
    client.snapshot()
    assert not (client.cache / "blobs").exists()
    blobs = client.cache / f"models--{MODEL.replace('/', '--')}" / "blobs"
    assert not any(path.is_symlink() for path in blobs.iterdir())


def test_an_index_names_every_tensor(client):
    folder = client.snapshot("lab/hundred-files")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) == 100
    assert checkpoint.load_weights(folder) == (100, len(index["weight_map"]))
