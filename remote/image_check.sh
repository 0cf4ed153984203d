#!/bin/bash
# What a serving image has, as seen by bash in a container of it: one line for each thing.
for name in mpirun trtllm-serve trtllm-llmapi-launch python3 ssh; do
	printf 'trtspark %s %s\n' "$name" "$(command -v "$name")"
done
for name in TRT_LLM_VERSION CUDA_VERSION CUDA_DRIVER_VERSION NVIDIA_REQUIRE_CUDA NCCL_VERSION; do
	printf 'trtspark %s %s\n' "$name" "${!name}"
done
printf 'trtspark transformers %s\n' "$(python3 -c 'from importlib.metadata import version; print(version("transformers"))' 2>/dev/null)"
printf 'trtspark mpirun-version %s\n' "$(mpirun --version 2>&1 | head -n 1)"
printf 'trtspark python3-version %s\n' "$(python3 -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>&1 | tail -n 1)"
