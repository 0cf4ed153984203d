"""Every number of the memory estimate that is not computed from the model, once, with its source.

GB10 log: a start of gpt-oss-120b on one Spark with TensorRT-LLM 1.2.0rc2, max_num_tokens 8192 and
max_batch_size 64, published by a user. It says: device total 119.70 GiB; weights 63.32 GiB; allocated
during inference 0.85 GiB; peak 113.65 GiB, of it 49.78 GiB outside torch; trial KV cache 0.56 GiB; KV
cache 5.95 GiB at fraction 0.9; 73728 bytes a token.
"""

from __future__ import annotations

GIB = 1 << 30
MIB = 1 << 20

#: What the system itself holds, bytes. An assumption for a desktop installation with Docker; the measured
#: use counts where it is higher and no rank of ours is part of it.
OS_SHARE = 4 * GIB
#: CUDA's context, cuBLAS and kernel images of a process, bytes. An assumption.
CUDA_CONTEXT = GIB
#: One captured CUDA graph, bytes. An assumption: graphs share one pool for their activations.
CUDA_GRAPH = 24 * MIB
#: NCCL's and UCX's buffers of a rank that has peers, bytes. An assumption: NCCL's default is 4 MiB a
#: channel, direction and peer, times 32 channels at most, for two communicators.
COMMUNICATION = GIB
#: Tokens of a block of the KV cache: the engine's default (`tokens_per_block`).
BLOCK = 32
#: Free memory that the engine found after loading 63.32 GiB beside the page cache of the same files,
#: bytes: 119.70 - 113.65 + 0.56 GiB (GB10 log). The engine counts page cache as used memory there.
FREE_BESIDE_PAGE_CACHE = 661 * GIB // 100
#: Memory at the worst moment of loading, as a multiple of the rank's weights: reports say 1.5 to 2 with
#: the page cache of the files; the kernel takes page cache back, so the lower end is what counts.
LOAD_PEAK = 1.5
#: Experts in MXFP4 are padded to multiples of this in both dimensions (the CUTLASS method, the only one on
#: GB10): with it the estimate gives the log's 63.32 GiB for a checkpoint of 60.77 GiB.
MXFP4_ALIGNMENT = 128
#: Bytes of a number in the activations: the engine computes in BF16.
ACTIVATION_NUMBER = 2
#: Most requests for which a CUDA graph is captured unless the options file says more, and the sizes: with
#: padding 1, 2, 4 and multiples of 8; without it every size up to 31, then 32, 64 and 128.
GRAPH_MAX_BATCH = 128
