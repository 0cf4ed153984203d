"""A simulated TensorRT-LLM: the programs and the Python package of the lab's serving image.

`bin/` and `tensorrt_llm/` are copied into the image as they are; see lab.image.

What is real: the processes and who starts whom, MPI between the ranks, their reading of every weight
file, bytes over the interfaces that NCCL's rules choose, the HTTP server, exit codes and signals.
What is imitated, from the real program's source and users' logs: options, YAML keys, log lines, error
texts, JSON fields, times between tokens. What is missing: any model (answers are words from the
tokenizer's vocabulary behind one sentence of facts), reasoning and tool parsers, guided decoding (a
request that needs one of these is refused), the subcommands for disaggregated serving, gRPC, and gpt-oss's
streams of /v1/responses.
"""
