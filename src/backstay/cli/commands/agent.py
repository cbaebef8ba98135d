"""`backstay agent`."""

from backstay.cli.app import agent

command = agent()
