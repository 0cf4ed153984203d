"""An all-reduce by PyTorch and NCCL: runs in a container of the serving image, one for each rank.

Its arguments are the JSON in TRTSPARK_NCCL_TEST. It prints one line of JSON with the time that the rounds
took, and ends at its deadline whatever happens.
"""

import datetime
import json
import os
import signal
import time


def main() -> None:
    """Meet the other ranks, sum the same data over and over, and print how long it took."""
    args = json.loads(os.environ["TRTSPARK_NCCL_TEST"])
    signal.alarm(args["deadline"])
    import torch  # type: ignore[import-not-found,unused-ignore]  # the image's
    import torch.distributed as dist  # type: ignore[import-not-found,unused-ignore]

    torch.cuda.set_device(0)
    dist.init_process_group(
        "nccl",
        init_method=f"tcp://{args['address']}:{args['port']}",
        rank=args["rank"],
        world_size=args["size"],
        timeout=datetime.timedelta(seconds=args["deadline"] // 2),
    )
    data = torch.ones(args["bytes"] // 4, dtype=torch.float32, device="cuda")
    for _ in range(2):
        dist.all_reduce(data)
    torch.cuda.synchronize()
    begun = time.monotonic()
    for _ in range(args["rounds"]):
        dist.all_reduce(data)
    torch.cuda.synchronize()
    seconds = time.monotonic() - begun
    version = ".".join(map(str, torch.cuda.nccl.version()))
    found = {key: args[key] for key in ("rank", "size", "bytes", "rounds")}
    print(json.dumps({"trtspark_nccl": {**found, "seconds": seconds, "version": version}}), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
