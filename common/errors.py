"""The one exception that users are meant to read."""


class UserError(Exception):
    """Bad input from outside: a file, an option, a configuration.

    The message is one sentence that names the thing, says what is wrong with it and what to do. Commands
    print it without a traceback and exit with code 2 (:data:`EXIT_CODE`).
    """


EXIT_CODE = 2
