#!/bin/sh
# What NVIDIA's own runtime finds as `runc`: the real one, and what the lab has to change before it
# (oci_bundle.py) at the two commands that take a file.
PATH=$(echo "$PATH" | sed 's|/usr/lib/lab/low-level:||g')
case " $* " in
  *" create "* | *" exec "*) exec /usr/lib/lab/oci-bundle --below-nvidia "$@" ;;
esac
exec runc "$@"
