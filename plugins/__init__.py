"""Stand-ins for the Pulumi engine's plugins, for machines that only reach package registries."""
