"""Errors that are meant for the user."""


class UserError(Exception):
    """A fault in what the user gave: config, data, model folder, machine.

    The message names the file, the line or record, the field, what was found and what was
    expected. It is shown without a traceback.
    """
