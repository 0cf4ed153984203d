"""What NCCL does when ranks of two machines meet: find devices, connect, exchange."""
