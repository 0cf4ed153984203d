"""Stand-in for the vendor's `docker` plugin: images, and a Swarm's configs and secrets."""
