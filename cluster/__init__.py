"""The pure core: configuration, facts, plans, specs. No Pulumi, no input or output."""
