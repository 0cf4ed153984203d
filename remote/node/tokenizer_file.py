"""The tokenizer.json of a model in a node's Hugging Face cache, compressed for the way to the operator."""

import base64
import gzip
import os

from remote.node import cache_folder


def look(args):
    """`args`: {"hf_cache", "model", "commit"}. {"packed": gzip as base64; None where it is not there}."""
    folder = os.path.join(cache_folder.expand(args["hf_cache"]), "hub")
    model = "models--" + args["model"].replace("/", "--")
    path = os.path.join(folder, model, "snapshots", args["commit"], "tokenizer.json")
    try:
        with open(path, "rb") as source:
            return {"packed": base64.b64encode(gzip.compress(source.read(), 6)).decode()}
    except OSError:
        return {"packed": None}
