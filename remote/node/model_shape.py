"""The shape of a model that a node's Hugging Face cache holds: its configuration and its tensors' sizes.

As the Hub would tell it, for when the Hub cannot be asked and to spare it the question.
"""

import json
import os
import re
import struct

from remote.node import cache_folder

MAX_HEADER = 100 << 20  # the format's own limit, bytes
EXPERT = re.compile(r"\.experts\.\d+\.")


def look(args):
    """`args`: {"hf_cache", "model", "commit"}. {"config", "quantisation" (None where there is none),
    "tensors": {name: bytes}, all experts of a layer as one}; None where a file is missing or damaged.
    """
    cache = cache_folder.expand(args["hf_cache"])
    model = "models--" + args["model"].replace("/", "--")
    snapshot = os.path.join(cache, "hub", model, "snapshots", args["commit"])
    try:
        shards = [name for name in sorted(os.listdir(snapshot)) if name.endswith(".safetensors")]
        shards = [name for name in shards if not name.startswith("consolidated")] or shards
        tensors: dict[str, int] = {}
        for shard in shards:
            for name, size in _tensors(os.path.join(snapshot, shard)).items():
                name = EXPERT.sub(".experts.*.", name)
                tensors[name] = tensors.get(name, 0) + size
        config = _json(os.path.join(snapshot, "config.json"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error):
        return None
    try:
        quantisation = _json(os.path.join(snapshot, "hf_quant_config.json"))
    except (OSError, ValueError):
        quantisation = None
    return {"config": config, "quantisation": quantisation, "tensors": tensors}


def _tensors(path):
    with open(path, "rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        if length > MAX_HEADER:
            raise ValueError("no safetensors header")
        header = json.loads(handle.read(length))
    sizes = {}
    for name, tensor in header.items():
        if name != "__metadata__":
            start, end = tensor["data_offsets"]
            sizes[name] = end - start
    return sizes


def _json(path):
    with open(path, encoding="utf-8") as handle:
        return json.load(handle)
