"""Nothing private leaves in a report: canaries of every kind, planted everywhere."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.redaction import REMOVED, Redaction

KNOWN = "correct horse battery"
#: What must not come through, each in a form in which it is met.
CANARIES = {
    "hub token": ("hf_CanaryCanaryCanaryCanary", "error: token hf_CanaryCanaryCanaryCanary was refused"),
    "join token": ("SWMTKN-1-canary0canary-abc", "join --token SWMTKN-1-canary0canary-abc"),
    "unlock key": ("canary+/tail", "SWMKEY-1-canary+/tail unlocks"),
    "private key": (
        "Y2FuYXJ5Y2FuYXJ5",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nY2FuYXJ5Y2FuYXJ5\n-----END OPENSSH PRIVATE KEY-----",
    ),
    "cut private key": ("Y2FuYXJ5Y2FuYXJ5", "-----BEGIN RSA PRIVATE KEY-----\nY2FuYXJ5Y2FuYXJ5"),
    "public key": ("AAAAC3canary", "ssh-ed25519 AAAAC3canary me@laptop"),
    "password in a URL": ("canaryword", "proxy http://me:canaryword@proxy:3128/"),
    "environment": ("canary-value-1", "HF_TOKEN=canary-value-1 HOME=/root"),
    "json": ("canary-value-2", '{"hfToken": "canary-value-2", "port": 8355}'),
    "option": ("canary-value-3", "run --password canary-value-3 --port 1"),
    "quoted option": ("canary value 4", "run --token 'canary value 4' --port 1"),
    "header": ("canaryBearer123", "Authorization: Bearer canaryBearer123"),
    "bearer": ("canaryBearer456", "curl -H 'x: Bearer canaryBearer456'"),
    "signed link": ("canarysignature", "GET https://cdn/x?Expires=1&Signature=canarysignature&Key-Pair-Id=K1"),
    "amazon": ("canaryamz", "https://s3/x?X-Amz-Signature=canaryamz&X-Amz-Date=1"),
    "serial": ("1981625CANARY", "DGX_SERIAL_NUMBER=1981625CANARY"),
    "serial of dmidecode": ("1981625CANARY", "\tSerial Number: 1981625CANARY"),
    "gpu": ("GPU-0b68b5d9-3b08-41e5-8aeb-81238d1eff26", "UUID: GPU-0b68b5d9-3b08-41e5-8aeb-81238d1eff26"),
    "mac": ("4c:bb:47:2c:aa:01", "link/ether 4c:bb:47:2c:aa:01 brd"),
    "jwt": ("eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJ", "got eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJ back"),
    "known": (KNOWN, f"the passphrase is {KNOWN}, yes"),
}  # fmt: skip
#: Names under which anything at all is private.
NAMES = ("hfToken", "hf_token", "HF_TOKEN", "trtllm-dgx-spark:hfToken", "password", "passphrase", "joinToken",
         "serial_number", "apiKey", "private_key", "sshKey")  # fmt: skip
#: And what must come through, or the report is worth nothing.
KEPT = ("maxNumTokens: 8192", "tiktoken.pins", "tokens/s 41.2", "rank 1 (10.24.11.12)", "exit code 137",
        "MemAvailable: 120000 kB", "sha256:4be2674056abc8183c73e170afe405a9717487330d680ef8924bf323a1f03e57",
        "NCCL INFO NET/IB : Using [0]rocep1s0f0:1/RoCE", "secret trtspark-lab-mpi-key is there",
        "--max_num_tokens 8192 --max_batch_size 4")  # fmt: skip


@pytest.mark.parametrize("kind", CANARIES)
def test_no_canary_comes_through_in_text(kind):
    canary, text = CANARIES[kind]
    assert canary in text
    assert canary not in Redaction([KNOWN]).text(text)


@pytest.mark.parametrize("kind", CANARIES)
def test_nor_anywhere_in_data(kind):
    canary, text = CANARIES[kind]
    data = {"a": [{"b": text, text: 1}], "c": (text, {"d": {"e": text}})}
    assert canary not in json.dumps(Redaction([KNOWN]).data(data))


@pytest.mark.parametrize("name", NAMES)
def test_under_a_secrets_name_everything_goes(name):
    assert Redaction().data({name: "anything"}) == {name: REMOVED}
    assert "anything" not in Redaction().text(json.dumps({"x": {name: "anything"}})) or name in (
        "private_key", "sshKey")  # fmt: skip


@pytest.mark.parametrize("text", KEPT)
def test_what_is_needed_stays(text):
    assert Redaction().text(text) == text
    assert Redaction().data({"line": text}) == {"line": text}


def test_counts_and_names_are_no_secrets():
    data = {"maxNumTokens": "8192", "max_tokens": 4, "SecretName": "trtspark-mpi", "Secrets": [{"ID": "x"}]}
    assert Redaction().data(data) == data


def test_the_same_machine_has_the_same_word_everywhere():
    redaction = Redaction()
    uuid, other = "GPU-0b68b5d9-3b08-41e5-8aeb-81238d1eff26", "GPU-1b68b5d9-3b08-41e5-8aeb-81238d1eff26"
    assert redaction.text(uuid) == redaction.text(uuid.upper())
    assert redaction.text(uuid) != redaction.text(other)


PLAIN = st.recursive(
    st.text(max_size=30) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@settings(deadline=None, max_examples=60)
@given(PLAIN)
def test_a_known_secret_is_nowhere_whatever_the_data(data):
    planted = {"x": data, "y": [f"before{KNOWN}after", {KNOWN: KNOWN}]}
    redacted = Redaction([KNOWN]).data(planted)
    assert KNOWN not in json.dumps(redacted, ensure_ascii=False)
    assert Redaction([KNOWN]).data(redacted) == redacted
