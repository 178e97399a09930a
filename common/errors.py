"""The one exception that users are meant to read."""

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class UserError(Exception):
    """Bad input from outside: a file, an option, a configuration.

    The message is one sentence that names the thing, says what is wrong with it and what to do. Commands
    print it without a traceback and exit with code 2 (:data:`EXIT_CODE`). Control characters, which names
    and tables of strangers may hold, are written as escapes: they would break the line, or steer a terminal.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_CONTROL.sub(lambda found: repr(found[0])[1:-1], str(message)))


EXIT_CODE = 2
