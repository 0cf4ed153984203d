"""Two tables: secrets in the forms in which they are met, and text that a report is worthless without."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.redaction import REMOVED, Redaction

X = "Canary7Canary7Canary7"  # stands for the secret
#: Text, and what must be gone from it: X where nothing else is said.
TEXTS: tuple[str | tuple[str, str], ...] = (
    # By a token's form
    ("got hf_abCdefGHij1234567890 there", "abCdefGHij"),
    ("sk-proj-abcdefghijklmnop1234", "abcdefghijklmnop"),
    ("sk_live_abcdefgh12345678", "abcdefgh12345678"),
    ("ghp_abcdefghij1234567890abcdefghij123456", "abcdefghij"),
    ("gho_abcdefghij1234567890", "abcdefghij"),
    ("github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuv", "abcdefghijkl"),
    ("nvapi-abcDEF123_xyz-456", "abcDEF123"),
    ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
    ("ASIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
    ("xoxb-123456789012-abcdefABCDEF", "123456789012"),
    ("xapp-1-A0123-456-abcdef", "A0123"),
    ("glpat-abcdEFGH1234_5678", "abcdEFGH"),
    ("npm_abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghij"),
    ("pypi-AgEIcHlwaS5vcmcCJGFiY2RlZg", "AgEIcHlw"),
    ("dckr_pat_abcdEFGH1234", "abcdEFGH"),
    ("AIzaSyA-abcdefghijklmnopqrstuvwxyz01234", "abcdefgh"),
    ("hvs.CAESIabcdefghijkl", "CAESIabc"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N", "dozjgNry"),
    ("X-Registry-Auth: eyJ1c2VybmFtZSI6Im1lIiwicGFzc3dvcmQiOiJ4In0=", "eyJ1c2Vy"),
    ("AGE-SECRET-KEY-1QQPQQPQQPQQPQQP", "QQPQQP"),
    ("SWMTKN-1-3pu6hszjas19xyp7ghgosyx9k8atbfcr8p2is99znpy26u2lkl-7p", "3pu6hszjas"),
    "https://hooks.slack.com/services/T0/B0/" + X,
    # Headers
    f"Authorization: Bearer {X}",
    f"authorization: basic {X}",
    f'Authorization: Digest username="me", realm="x", response="{X}"',
    f"Authorization: token {X}",
    f"Authorization: AWS4-HMAC-SHA256 Credential=a, Signature={X}",
    f"Proxy-Authorization: Basic {X}",
    f"X-Api-Key: {X}",
    f"x-api-key:{X}",
    f"curl -H 'X-API-Key: {X}' http://h",
    f'curl -H "Authorization: Bearer {X}" http://h',
    f"X-Auth-Token: {X}",
    f"PRIVATE-TOKEN: {X}",
    f"Cookie: a=1; session={X}",
    f'Set-Cookie: a="b"; session={X}; Path=/',
    f"headers={{'X-Api-Key': '{X}', 'Accept': '*/*'}}",
    f"WWW: Bearer {X}",
    # Assignments and options
    f"DB_PASS={X}",
    f"MYSQL_ROOT_PASSWORD={X}",
    f"PGPASSWORD={X} psql",
    f"export NGC_API_KEY={X}",
    f"AWS_SECRET_ACCESS_KEY = {X}",
    f"HF_TOKEN='{X} with spaces'",
    f'password: "a \\"{X}\\" b"',
    f"password={X}&user=me",
    f"hf_token%3D{X}",
    f"PASSWD={X}",
    f"pulumi config set --secret hfToken --api-key {X}",
    f"trtllm-serve --api_key={X}",
    f"run --token '{X}'",
    f"docker login -u me -p {X} nvcr.io",
    f"sshpass -p {X} ssh me@h",
    f"curl -u me:{X} http://h",
    f"machine h login me password {X}",
    f"the password is {X}, really",
    f"storage_account_key: {X}",
    f"AccountName=a;AccountKey={X};EndpointSuffix=b",
    f"client_secret={X}",
    "password=12345678",
    f"id_token={X}",
    f"unlock key: {X}",
    f"Password for me: {X}",
    f"mysql -u me -p{X}",
    f"redis-cli -a {X}",
    f"trtllm-dgx-spark:hfToken  {X}",
    f"hf_token {X}",
    f"FERNET_KEY={X}",
    f"tokens: ['{X}', '{X}']",
    f"password: |\n  {X}\nport: 1",
    f"token%22%3A%22{X}",
    f"https://h/x?key={X}",
    # JSON in text, and JSON in JSON
    json.dumps({"hfToken": X}),
    json.dumps({"auths": {"nvcr.io": {"auth": X}}}),
    json.dumps({"identitytoken": X}),
    json.dumps(json.dumps({"apiKey": X, "port": 1})),
    json.dumps(json.dumps(json.dumps({"password": X}))),
    json.dumps({"env": ["DB_PASS=" + X]}),
    # Addresses
    f"http://me:{X}@proxy:3128/",
    f"http://me:pa/ss/{X}@proxy:3128/",
    f"http://me:p@ss@{X}@proxy:3128/",
    f"postgres://me:{X}/@h/db",
    f"redis://:{X}@h:6379/0",
    f"https://{X}@github.com/a/b",
    f"https://h/x?api_key={X}&a=1",
    f"https://h/x?access_token={X}",
    f"https://s3/x?X-Amz-Signature={X}&X-Amz-Date=1",
    f"https://s3/x?X-Amz-Security-Token={X}",
    f"https://blob/x?sv=2024&sig={X}",
    f"https://storage/x?X-Goog-Signature={X}",
    # Keys
    f"-----BEGIN PRIVATE KEY-----\n{X}\n-----END PRIVATE KEY-----",
    f"-----BEGIN OPENSSH PRIVATE KEY-----\\n{X}\\n-----END OPENSSH PRIVATE KEY-----",
    f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{X}",
    f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{X}\n-----END PGP PRIVATE KEY BLOCK-----",
    f"-----BEGIN%20RSA%20PRIVATE%20KEY-----%0A{X}%0A-----END%20RSA%20PRIVATE%20KEY-----",
    f"PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\n{X}\nPrivate-MAC: 00ff",
    f"b3BlbnNzaC1rZXktdjE{X}\n{X}",
    f"encryptionsalt: v1:{X}:v1:{X}:{X}",
)
#: Data, in each of which X is.
DATA: tuple[Any, ...] = (
    ["--api-key", X],
    ["-e", "HF_TOKEN", X],
    ["sshpass", "-p", X, "ssh"],
    ["/usr/bin/curl", "-u", "me:" + X],
    ["docker", "login", "-p", X],
    {"tokens": [X]},
    ["serve", "--hf_token", X, "--port", "1"],
    ["--password=" + X],
    ["-e", "DB_PASS=" + X + " with spaces"],
    {"Env": ["HF_TOKEN=" + X]},
    {"Args": ["sh", "-c", f"login --password {X}"]},
    [["HF_TOKEN", X], ["HOME", "/root"]],
    {"name": "HF_TOKEN", "value": X},
    {"key": "password", "value": X},
    {"auths": {"nvcr.io": {"auth": X}}},
    {"password": [X, X]},
    {"secret": {"data": {"x": X}}},
    {"Authorization": "Digest a=" + X},
    {"headers": {"X-Api-Key": X}},
    {"extraArgs": ["--api_key", X]},
    {"apiToken": X},
    {"sshPrivateKey": X},
    {"DB_PASS": X},
    {"x": {"y": [{"z": f"Bearer {X}"}]}},
    {"credentials": {"user": X}},
)
HARMLESS = (
    "maxNumTokens: 8192",
    "max_num_tokens=8192 max_batch_size=4",
    "--max_num_tokens 8192 --max_batch_size 4 --tp_size 2",
    "tokens/s 41.2, tokens: 812",
    "total_tokens=4096, prompt_tokens: 12",
    'eos_token: "<|endoftext|>", pad_token: "<pad>"',
    "eos_token_id=151645",
    "tokenizer: Qwen/Qwen2.5-7B-Instruct",
    "tokens_per_block=32",
    "rank 1 (10.24.11.12): exit code 137",
    "MemAvailable: 120000 kB",
    "sha256:4be2674056abc8183c73e170afe405a9717487330d680ef8924bf323a1f03e57",
    "commit 0123456789abcdef0123456789abcdef01234567",
    "NCCL INFO NET/IB : Using [0]rocep1s0f0:1/RoCE [1]roceP2p1s0f0:1/RoCE",
    "NCCL_SOCKET_IFNAME=enp1s0f0np0 UCX_TLS=rc",
    "nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc5@sha256:4be2674056ab",
    "http://192.168.1.11:8355/v1/models",
    "https://huggingface.co/openai/gpt-oss-120b/tree/main",
    "https://host/a/b@main",
    "nvidia@192.168.1.11:22",
    '"GET /health HTTP/1.1" 200 OK',
    "PASS docker.answers: Docker 28.5.1 answers",
    "forward_pass: 3.2 ms, second pass: 4 ms",
    "bypass: true, compass: north",
    "hf_quant_config.json, hf_transfer, hf_download",
    "skip_softmax_attention_kernel_for_blackwell",
    "task-manager-with-a-long-name-indeed",
    "the token is missing; the password is required",
    "key: value, keys: 3, monkey=banana",
    "primary_key=id, cache_key: 12",
    "Traceback (most recent call last): KeyError: 'config'",
    "temperature: 41 C, power: 38 W, serial execution",
    "hfTokenFile=/etc/token, password_file: /run/x",
    "secret trtspark-lab-mpi-key is there",
    "basic health check, bearer of news",
    "2026-11-29T01:02:03Z [TRT-LLM] [I] KV cache: 12.3 GiB",
    "API key: not needed, token: none, hfToken is not set",
    "output_tokens: [1, 2, 3], tokens: [4, 5]",
    "PasswordAuthentication no, auth methods: publickey,password",
    "git@github.com:a/b.git, add_bos_token: false, tokenizer_config.json: 3 kB",
    "quant_algo: NVFP4, kv_cache_quant_algo: FP8",
    "model-00001-of-00012.safetensors 4.98 GB",
)


@pytest.mark.parametrize("sample", TEXTS, ids=range(len(TEXTS)))
def test_a_secret_in_text(sample):
    text, canary = (sample, "12345678" if X not in sample else X) if isinstance(sample, str) else sample
    assert canary in text
    assert canary not in Redaction().text(text)
    assert canary not in Redaction().text(f"before {text}\nafter")
    assert canary not in json.dumps(Redaction().data({"line": text}))


@pytest.mark.parametrize("data", DATA, ids=range(len(DATA)))
def test_a_secret_in_data(data):
    assert X in json.dumps(data)
    assert X not in json.dumps(Redaction().data(data))
    assert X not in json.dumps(Redaction().data({"inner": [data]}))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_stays_readable(text):
    assert Redaction().text(text) == text
    assert Redaction().data({"line": [text]}) == {"line": [text]}


def test_the_tables_are_long_enough():
    assert len(TEXTS) + len(DATA) >= 60
    assert len(HARMLESS) >= 25


def test_around_a_secret_everything_stays():
    assert Redaction().text(json.dumps({"hfToken": X, "port": 1})) == f'{{"hfToken": "{REMOVED}", "port": 1}}'
    assert Redaction().text(f"run --api-key {X} --port 1") == f"run --api-key {REMOVED} --port 1"
    assert Redaction().data(["--api-key", X, "--port", "1"]) == ["--api-key", REMOVED, "--port", "1"]
    assert Redaction().text(f"http://me:{X}@proxy:3128/ then") == f"http://{REMOVED}@proxy:3128/ then"


def test_numbers_under_a_password_go_and_counts_stay():
    data = {"password": 12345678, "tokens": 812, "maxTokens": 4, "pass": True}
    assert Redaction().data(data) == {**data, "password": REMOVED}


FORMS = (
    lambda secret: secret,
    lambda secret: quote(secret, safe=""),
    quote,
    quote_plus,
    lambda secret: json.dumps(secret)[1:-1],
    lambda secret: json.dumps(json.dumps(secret))[1:-1],
    lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    lambda secret: base64.b64encode(secret.encode()).decode(),
)


@settings(deadline=None, max_examples=80)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=6, max_size=20),
    st.sampled_from(FORMS),
)
def test_a_known_secret_goes_in_every_form(secret, form):
    written = form(secret)
    if len(written.strip()) >= 4:
        assert written not in Redaction([secret]).text(f"¦{written}¦") or written in f"¦{REMOVED}¦"


def test_each_text_of_a_structured_secret():
    structured = json.dumps({"NCCL_X": "inner secret one", "list": ["inner secret two", 7, None]})
    redaction = Redaction([structured])
    assert "inner secret" not in redaction.text("a inner secret one b inner%20secret%20two c " + structured)


def test_each_line_of_a_key():
    key = "-----BEGIN X-----\nbGluZS1vbmUtb2YtYS1rZXk\n-----END X-----\n"
    assert "bGluZS1vbmUtb2YtYS1rZXk" not in Redaction([key]).text("log: bGluZS1vbmUtb2YtYS1rZXk")


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60))
def test_any_text_twice_is_as_once(text):
    once = Redaction().text(text)
    assert Redaction().text(once) == once


def test_a_large_log_takes_no_time():
    """Nothing backtracks: lines of one kind of letter are the worst."""
    for line in (
        "a" * 20_000,
        "=" * 20_000,
        '"' * 5_000,
        "token " * 4_000,
        "://" * 5_000,
        "\\" * 10_000,
        "-" * 20_000,
        "a_" * 9_000,
        "aA" * 9_000,
        "a-" * 9_000,
        "a:" * 5_000,
    ):
        Redaction(["known secret"]).text(line)
