"""What can go wrong on a host; each text is the one line that an operator reads."""


class AgentError(Exception):
    """The agent stopped; what was in force before still is."""


class Unwritten(AgentError):
    """A file is not as it should be: there is no room, or the disk does not do it."""


class Unfinished(AgentError):
    """An account is not as it should be; all else is in force."""


class Malformed(AgentError):
    """What was read is not what it should be."""


class Answered(AgentError):
    """The server would not do it; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Refused(AgentError):
    """A host may not obey this statement; `reason` is the slug of the common vectors."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
