"""What a user sees of a program that the installed language host runs."""

import pytest

pytestmark = pytest.mark.lab


def test_output_and_exports(project):
    project.program(
        "import pulumi, sys\nprint('to stdout')\nprint('to stderr', file=sys.stderr)\n"
        "pulumi.export('dry', pulumi.runtime.is_dry_run())\n"
        "pulumi.export('names', [pulumi.get_project(), pulumi.get_stack()])\n"
        "pulumi.export('n', pulumi.Config().require_int('n'))\n"
    )
    project.pulumi("config", "set", "n", "3")
    done = project.up()
    assert done.returncode == 0, done.stdout
    assert "to stdout" in done.stdout
    assert "to stderr" in done.stdout
    assert project.outputs() == {"dry": False, "names": ["trial", "test"], "n": 3}


@pytest.mark.parametrize(
    ("program", "shown", "hidden"),
    [
        ("import pulumi\nraise pulumi.RunError('no such model')", "error: no such model", "Traceback"),
        ("def f():\n    1 / 0\nf()", "Program failed with an unhandled exception", "runpy"),
        ("import sys\nsys.exit(7)", "Program exited with non-zero exit code: 7", "Traceback"),
        ("import missing_module", "No module named 'missing_module'", "runpy"),
    ],
)
def test_programs_that_fail(project, program, shown, hidden):
    project.program(program)
    failed = project.up()
    assert failed.returncode != 0
    assert shown in failed.stdout
    assert hidden not in failed.stdout


def test_an_environment_that_is_not_there(project):
    settings = project.folder / "Pulumi.yaml"
    settings.write_text(settings.read_text().replace("/.venv", "/none"))
    project.program("")
    failed = project.up()
    assert failed.returncode != 0
    assert "/none" in failed.stdout + failed.stderr


def test_dynamic_providers_run_in_the_programs_environment(project):
    project.program(
        "import pulumi, sys\n"
        "from pulumi.dynamic import CreateResult, Resource, ResourceProvider\n"
        "class Provider(ResourceProvider):\n"
        "    def create(self, props):\n"
        "        import sys\n"
        "        return CreateResult('id', {'python': sys.prefix})\n"
        "class Thing(Resource):\n"
        "    python: pulumi.Output[str]\n"
        "thing = Thing(Provider(), 'thing', {'python': None})\n"
        "pulumi.export('same', thing.python.apply(lambda prefix: prefix == sys.prefix))\n"
    )
    done = project.up()
    assert done.returncode == 0, done.stdout
    assert project.outputs() == {"same": True}


def test_a_failed_resource_shows_only_its_own_error(project):
    project.program(
        "from pulumi.dynamic import Resource, ResourceProvider\n"
        "class Provider(ResourceProvider):\n"
        "    def create(self, props):\n"
        "        raise ValueError('disk is full')\n"
        "class Thing(Resource):\n"
        "    pass\n"
        "Thing(Provider(), 'thing', {})\n"
    )
    failed = project.up()
    assert "disk is full" in failed.stdout
    assert "KeyboardInterrupt" not in failed.stdout + failed.stderr
