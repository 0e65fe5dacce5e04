"""What the command line says when it cannot go on."""


class Refusal(Exception):
    """One clear sentence for the user: what was wrong and what to do. It ends the command with exit code 2."""
