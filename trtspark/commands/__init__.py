"""One module per command: a function that typer runs, with its `--help` as its docstring.

Heavy imports (pulumi, docker, huggingface_hub) stay inside the functions: `trtspark --help` and shell
completion have to be quick.
"""
