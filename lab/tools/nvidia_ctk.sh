#!/bin/sh
# Simulates nvidia-ctk 1.20.1 as far as it tells its version; it configures nothing here.
case ${1:-} in
  --version | -v)
    echo "NVIDIA Container Toolkit CLI version 1.20.1"
    echo "commit: 0000000000000000000000000000000000000000"
    ;;
  runtime | config | cdi | hook | system | info | graphics)
    echo "nvidia-ctk: '$1' is not simulated" >&2
    exit 1
    ;;
  '' | --help | -h | help)
    echo "NAME:"
    echo "   nvidia-ctk - Tools to configure the NVIDIA Container Toolkit"
    ;;
  *)
    echo "No help topic for '$1'" >&2
    exit 3
    ;;
esac
