"""The swarm-resource line: set in place, comments and order kept, and taken back."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from remote.node import config_toml, stop

PATH = "/etc/nvidia-container-runtime/config.toml"
TOML = (Path(__file__).parents[1] / "fixtures/files/container-runtime-config.toml").read_text()
COMMENTED = '#swarm-resource = "DOCKER_RESOURCE_GPU"'
OURS = "DOCKER_RESOURCE_NVIDIA_GPU"


def merged(text: str) -> str:
    return config_toml.merged(text, PATH)[0]


def there_and_back(text: str) -> str:
    after, was = config_toml.merged(text, PATH)
    return config_toml.taken_back(after, PATH, was)


def test_the_toolkits_commented_line_is_set_and_nothing_else():
    text = merged(TOML)
    assert text == TOML.replace(COMMENTED, f'swarm-resource = "{OURS}"')
    assert tomllib.loads(text)["swarm-resource"] == OURS
    assert merged(text) == text


CASES = {
    "empty": "",
    "no line": "# mine\n[nvidia-ctk]\npath = 'x'\n",
    "windows": TOML.replace("\n", "\r\n"),
    "another's name": 'swarm-resource = "OTHER"\n',
    "another's name, literal, with a comment": "a = 1\n  swarm-resource='OTHER' # why\nb = 2\n",
    "quoted key": '"swarm-resource" = "OTHER"\n',
    # NVIDIA's old playbook: sed took the comment sign away. The toolkit's update would put it back.
    "uncommented by sed": TOML.replace(COMMENTED, COMMENTED[1:]),
    "commented and set": TOML.replace(COMMENTED, COMMENTED + '\nswarm-resource = "MINE"'),
    "another table's key": '[x]\nswarm-resource = "NOT_THIS"\n#swarm-resource = "NOR_THIS"\n',
    "no newline at the end": "disable-require = false",
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_names_are_joined_and_the_rest_is_what_it_was(text):
    before, after = tomllib.loads(text), tomllib.loads(merged(text))
    old = before.get("swarm-resource")
    assert after == {**before, "swarm-resource": f"{old},{OURS}" if old else OURS}
    assert [line for line in text.splitlines() if "swarm-resource" not in line] == [
        line for line in merged(text).splitlines() if "swarm-resource" not in line
    ]


@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_taken_back_byte_for_byte(text):
    assert there_and_back(text) == text


def test_the_value_that_the_toolkit_comments_out_again_is_never_the_whole_value():
    value = tomllib.loads(merged(CASES["uncommented by sed"]))["swarm-resource"]
    assert value == f"DOCKER_RESOURCE_GPU,{OURS}"


def test_after_the_toolkits_update_which_rewrites_the_file_our_line_is_still_found():
    """nvidia-ctk config --in-place keeps values, sorts, and drops the owner's comments."""
    _, was = config_toml.merged("# mine\n" + TOML, PATH)
    rewritten = merged(TOML)
    assert config_toml.taken_back(rewritten, PATH, was) == TOML


@pytest.mark.parametrize("text", [TOML, "a = 1\n", 'swarm-resource = "OTHER"\n'])
def test_our_line_made_a_comment_by_hand_is_still_ours(text):
    after, was = config_toml.merged(text, PATH)
    assert config_toml.taken_back(after.replace("swarm-resource", "# swarm-resource"), PATH, was) == text


def test_what_the_owner_made_of_the_line_since_stays():
    after, was = config_toml.merged(TOML, PATH)
    theirs = after.replace(OURS, "MINE")
    assert config_toml.taken_back(theirs, PATH, was) == theirs
    both = after.replace(OURS, f"MINE,{OURS}")
    assert config_toml.taken_back(both, PATH, was) == after.replace(OURS, "MINE")


@pytest.mark.parametrize("text", ["swarm-resource = \n", "[x\n", 'a = "\n'])
def test_what_is_not_toml_is_refused(text):
    with pytest.raises(stop.Stop, match=r"is not valid TOML .* it was not touched"):
        merged(text)


@pytest.mark.parametrize(
    "text",
    [
        'swarm-resource = """OTHER"""\n',
        'note = """\nswarm-resource = "x"\n"""\n',
        'list = [\n["a"],\n]\nswarm-resource = "OTHER"\n',
    ],
)
def test_a_line_that_is_not_what_it_seems_is_refused(text):
    with pytest.raises(stop.Stop, match="cannot be edited safely"):
        merged(text)
