"""Bad ssh keys, settings of ssh and known_hosts files, and what ssh says of machines."""

from __future__ import annotations

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxh"
RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQD" + "A" * 37

#: (what is done to a good key at $KEY, the configured path, what the error must name). Each is tried with
#: and without an agent that holds nothing.
KEYS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("chmod 644 $KEY", "~/.ssh/mine", ("sshKey", "mode 0644", "chmod 600")),
    ("true", "~nosuchuser/.ssh/mine", ("sshKey", "~nosuchuser", "no file is there")),
    ("true", "~/.ssh/" + "a" * 300, ("sshKey", "no file is there")),
    ("true", "~/.ssh/mine/x", ("sshKey", "no file is there")),
    ("chmod 660 $KEY", "~/.ssh/mine", ("sshKey", "mode 0660", "chmod 600")),
    ("ssh-keygen -q -p -P '' -N secret -f $KEY", "~/.ssh/mine", ("sshKey", "passphrase", "ssh-add")),
    ("true", "~/.ssh/mine.pub", ("sshKey", "public half", ".ssh/mine")),
    ("cp $KEY.pub $KEY", "~/.ssh/mine", ("sshKey", "public half")),
    ("rm $KEY", "~/.ssh/mine", ("sshKey", "no file is there")),
    ("rm $KEY; mkdir $KEY", "~/.ssh/mine", ("sshKey", "folder")),
    ("rm $KEY; ln -s nowhere $KEY", "~/.ssh/mine", ("sshKey", "no file is there")),
    (": >$KEY", "~/.ssh/mine", ("sshKey", "not a private key")),
    ("echo garbage >$KEY", "~/.ssh/mine", ("sshKey", "not a private key")),
    (
        "head -c 200 $KEY >$KEY.x; mv $KEY.x $KEY; chmod 600 $KEY",
        "~/.ssh/mine",
        ("sshKey", "not a private key"),
    ),
    ("head -c 300 /dev/zero >$KEY", "~/.ssh/mine", ("sshKey", "not a private key")),
    ("printf '\\377\\376' >$KEY", "~/.ssh/mine", ("sshKey", "not a private key")),
    ("rm $KEY", "", ("No ssh key", "ssh-keygen -t ed25519", "ssh-copy-id")),
    ("mv $KEY ~/.ssh/id_ed25519; chmod 644 ~/.ssh/id_ed25519", "", ("ssh key", "mode 0644", "chmod 600")),
    (
        "mv $KEY ~/.ssh/id_rsa; ssh-keygen -q -p -P '' -N secret -f ~/.ssh/id_rsa",
        "",
        ("ssh key", "passphrase", "ssh-add"),
    ),
    ("rm $KEY; touch ~/.ssh/id_ecdsa; chmod 600 ~/.ssh/id_ecdsa", "", ("ssh key", "not a private key")),
)

#: (the text of ~/.ssh/config, what the error must name) for the node spark-1.
SETTINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Host spark-1\n HostName 10.0.0.5\n", ("spark-1", "~/.ssh/config", "host: 10.0.0.5")),
    (
        "Host spark-*\n HostName 10.0.0.5\n User nick\n Port 2222\n",
        ("spark-1", "host: 10.0.0.5", "user: nick", "port: 2222"),
    ),
    ("Host spark-1\n HostName %h.local\n", ("spark-1", "host: spark-1.local")),
    ("Host spark-1\n ProxyJump bastion\n", ("spark-1", "'bastion'", "VPN")),
    ("Host *\n ProxyCommand nc -X 5 %h %p\n", ("spark-1", "nc -X 5", "VPN")),
    ("Host spark-1\n ProxyJump a@b:23,c\n HostName 10.0.0.5\n", ("spark-1", "a@b:23,c")),
    ("Host spark-1\n IdentityAgent ~nosuchuser/x\n", ("spark-1", "nosuchuser", "ssh -G spark-1")),
    ("Hots spark-1\n", ("spark-1", "settings", "ssh -G spark-1")),
    ("Port many\n", ("spark-1", "settings", "ssh -G spark-1")),
)

#: (the text of known_hosts or None for no file, what the error must name) for spark-1 and spark-2.
KNOWN_HOSTS: tuple[tuple[str | None, tuple[str, ...]], ...] = (
    (None, ("spark-1: its host key is not known", "[spark-2]:2222: its host key", "there is no file")),
    ("", ("spark-1: its host key is not known", "[spark-2]:2222: its host key", "ssh -p 22 nvidia@spark-1")),
    (f"spark-3 {KEY}\n", ("spark-1: its host key", "[spark-2]:2222", "ssh -p 2222 nvidia@spark-2")),
    (f"spark-1 {KEY}\nspark-2 {KEY}\n", ("[spark-2]:2222: its host key is not known",)),
    (f"@revoked spark-1 {KEY}\n", ("spark-1: its host key", "[spark-2]:2222")),
    (
        f"spark-1 {RSA}\n[spark-2]:2222 {RSA}\n",
        ("spark-1", "[spark-2]:2222", "ssh-rsa", "ssh-keyscan -t ed25519"),
    ),
    ("\ufffd\x00garbage\n", ("spark-1: its host key", "[spark-2]:2222")),
    ("spark-1\n[spark-2]:2222 ssh-ed25519\n", ("spark-1: its host key", "[spark-2]:2222")),
)

#: (ssh's standard error, what the error must name) for nvidia@spark-2:2222.
SAID: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Host key verification failed.\r\n", ("host key is not the pinned one", "ssh-keyscan spark-2")),
    ("nvidia@spark-2: Permission denied (publickey,password).\r\n", ("refused", "ssh-copy-id -p 2222")),
    (
        'sign_and_send_pubkey: signing failed for ED25519 "k" from agent: agent refused operation\r\n'
        "nvidia@spark-2: Permission denied (publickey).\r\n",
        ("agent refused", "ssh-add"),
    ),
    (
        "@ WARNING: UNPROTECTED PRIVATE KEY FILE! @\r\nnvidia@spark-2: Permission denied (publickey).\r\n",
        ("others may read your private key", "chmod 600"),
    ),
    ("Bad owner or permissions on /home/me/.ssh/config\r\n", ("its own settings", "chmod go-w")),
    (
        "Received disconnect from 10.0.0.2 port 2222:2: Too many authentication failures\r\n"
        "Disconnected from 10.0.0.2 port 2222\r\n",
        ("many keys", "sshKey"),
    ),
    ("ssh: Could not resolve hostname spark-2: Name or service not known\r\n", ("unknown", "nodes[].host")),
    ("ssh: connect to host spark-2 port 2222: Connection refused\r\n", ("nothing listens", "start ssh")),
    ("ssh: connect to host spark-2 port 2222: Connection timed out\r\n", ("does not answer", "ping spark-2")),
    ("ssh: connect to host spark-2 port 22: No route to host\r\n", ("no route to it",)),
    ("ssh: connect to host spark-2 port 22: Network is unreachable\r\n", ("no route to it",)),
    ("kex_exchange_identification: read: Connection reset by peer\r\n", ("Connection reset", "ssh")),
    ("Connection closed by 10.0.0.2 port 2222\r\n", ("Connection closed", "ssh")),
    ("client_loop: send disconnect: Broken pipe\r\n", ("Broken pipe", "ssh")),
    ("\x1b[31mred\x07\r\n", ("red", "ssh")),
    ("", ("no message", "ssh")),
)
