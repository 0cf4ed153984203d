"""trtspark: what people do before, after and in between `pulumi up`.

It reads a stack's configuration and outputs through Pulumi's automation API, keeps no configuration of its
own, and changes things only through Pulumi.
"""
