"""What may stop a deployment while machines are being changed."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.symptoms.table import Symptom

DEPLOYING: Sequence[Symptom] = (
    Symptom(
        "`the GPU did not take a cap of`",
        "nvidia-smi refused the range, or the driver is not well",
        "set `gpuClockLimit` to another value, or unset it",
        "`journalctl -u trtspark-gpu-clock.service` there",
    ),
    Symptom(
        "`sets the GPU's clock already`",
        "another unit locks the GPU's clock, and at boot one would undo the other",
        "unset `gpuClockLimit`, or `sudo systemctl disable --now` that unit",
        "`systemctl cat` of that unit there",
    ),
    Symptom(
        "`sudo asks for a password for`",
        "the sudoers lines miss this command",
        "copy them again from [preparing](preparing.md)",
        "`sudo -n -l` there",
    ),
    Symptom(
        "`it was not touched`, `the file was not touched`",
        "a settings file that cannot be edited safely",
        "mend it as it says",
        "the file itself",
        checks=("docker.settings-file",),
    ),
    Symptom(
        "`is a symbolic link to`",
        "the file is kept elsewhere, and would be replaced here",
        "put a file in its place",
        "`ls -l` of it there",
    ),
    Symptom(
        "`dockerd would not start with`",
        "dockerd itself said so when asked",
        "what it said; nothing was changed",
        "`sudo dockerd --validate` there",
    ),
    Symptom(
        "`cannot be understood` with a path in `/var/lib/trtspark`",
        "our record on the node is torn, as after a power cut, or was edited",
        "what it says: compare the files by hand, remove the record",
        "`sudo cat` of the record there",
    ),
    Symptom(
        "`is torn`, `was torn`, `cannot be known`",
        "the same at `destroy`, which goes on: what is certain was restored",
        "what it says, by hand",
        "`ls -l /var/lib/trtspark /etc/docker` there",
    ),
    Symptom(
        "`another run's change of this machine is under way`",
        "one program at a time changes a node's files, and a change of the fabric's addresses waits for its "
        "confirmation",
        "the same again in a minute",
        "`sudo lslocks` there: the process that holds `/etc`",
    ),
    Symptom(
        "`somebody else just now`",
        "a file was edited between the look and the change",
        "the same again: it begins with the file as it is now",
        "the file itself",
    ),
    Symptom(
        "`this login is from before its user came into group`",
        "a shared ssh connection that is older",
        "the same again in a minute",
        "`id` there",
    ),
    Symptom(
        "`refuses` … `to this node (`, `allows no more pulls for now`",
        "the registry wants a login, or limits pulls without one",
        "`docker login REGISTRY` there, then `pulumi up` again",
        "`docker pull IMAGE` there",
    ),
    Symptom(
        "`the pull of` … `broke (`, `the pull of` … `stands still:`",
        "the node's line or proxy, or a registry that is down",
        "`pulumi up` again once it answers",
        "`curl -I https://REGISTRY/v2/`, `docker pull IMAGE` there",
    ),
    Symptom(
        "`does not fit:`, `the disk became full while`",
        "unpacked layers take about twice what is downloaded",
        "make room on Docker's disk, then `pulumi up` again",
        "`docker system df` there",
    ),
    Symptom(
        "`is not one image on all nodes`",
        "the tag moved between the nodes' pulls",
        "`docker pull` on both, or a digest in `image`",
        "`docker image ls --digests` on all",
        checks=("image.same",),
    ),
    Symptom(
        "`Docker did not answer within`, `Docker restarted but does not offer`",
        "the new `daemon.json` does not suit this Docker, or it is slow to start",
        "`journalctl -u docker` there",
        "`journalctl -u docker` there",
        checks=("deployed.prepared",),
    ),
    Symptom(
        "`it is a worker of another Swarm.`, `it belongs to another Swarm`",
        "the machine is a member elsewhere",
        "leave it there, or list that Swarm's manager first",
        "`docker info` there",
        checks=("swarm.member", "swarm.membership"),
    ),
    Symptom(
        "Pulumi says: failed to load checkpoint: EOF",
        "`pulumi` was killed while it wrote the attributes beside a state file of a local backend; the state "
        "itself is whole",
        "`find ~/.pulumi -name '*.attrs' -empty -delete` (or below the folder of your `file://` backend); "
        "`pulumi login 'file://~?metadata=skip'` writes none",
        "`pulumi stack export`",
    ),
    Symptom(
        "`its Swarm is locked.`",
        "autolock, after a restart of Docker",
        "`docker swarm unlock` there",
        "`docker info` there",
        checks=("swarm.member",),
    ),
    Symptom(
        "`it could not join the Swarm at`",
        "ports 2377/tcp, 7946/tcp and udp are closed, or clocks differ",
        "open them between the nodes",
        "`docker node ls` on the head",
        checks=("swarm.member",),
    ),
    Symptom(
        "`for the Swarm to list its GPU as a resource.`",
        "Docker runs without the resource",
        "`docker node inspect self` there",
        "`docker node inspect self` there",
        checks=("swarm.gpu",),
    ),
    Symptom(
        "`is there already and is not ours.`",
        "a service or an object of our name that another program made",
        "remove or rename it",
        "`docker service ls` on the head",
    ),
    Symptom(
        "`is there but is not ours.`",
        "likewise, of the MPI key's secret",
        "remove or rename it",
        "`docker secret ls` on the head",
    ),
    Symptom(
        "`to end.` after `for container`",
        "a process that cannot be killed, often in the driver",
        "`docker kill` there, else reboot; then the same again",
        "`docker ps` there",
    ),
)
