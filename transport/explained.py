"""Exceptions whose text is ours: made for operators, with what is wrong and what to do."""


class Explained(Exception):
    """Something is not as it must be; the text is logged and shown as it is.

    So it holds no key bits, and nothing that somebody else has said without a limit. Of any other
    exception only the kind and the place are told.
    """
