#!/bin/bash
# NVIDIA's containers print a banner and become the command.
cat <<BANNER

============================
== TensorRT-LLM Release ==
============================

NVIDIA Release $TRT_LLM_VERSION (simulated)

BANNER
if ! command -v nvidia-smi >/dev/null; then
  echo "WARNING: The NVIDIA Driver was not detected.  GPU functionality will not be available."
  echo
fi
exec "$@"
