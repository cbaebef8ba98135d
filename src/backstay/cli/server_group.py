"""Groups of commands that talk to a server; called without a command they list."""

import click


class ServerGroup(click.Group):
    """`backstay sets` is short for `backstay sets list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What follows the group's name."""
        wants_help = any(one in ctx.help_option_names for one in args[:1])
        if not wants_help and (not args or args[0].startswith("-")):
            args = ["list", *args]
        return super().parse_args(ctx, args)
