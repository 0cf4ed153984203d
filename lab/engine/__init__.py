"""A simulated TensorRT-LLM: the programs and the Python package of the lab's serving image.

`bin/` and `tensorrt_llm/` are copied into the image as they are; see lab.image.
"""
