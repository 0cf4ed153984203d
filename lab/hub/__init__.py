"""The lab's Hugging Face Hub: a server that the real `huggingface_hub` client and the real `hf` talk to.

`python3 -m lab.hub` runs it alone; `lab.hub.server.Hub` is the same in a test's process.
"""
