"""The tree of errors.

Every error that this package raises on purpose derives from `MonitorError`::

    MonitorError
    ├── SettingError            a setting has an unusable value
    ├── FrameError              a frame breaks the protocol
    ├── RelayError              the relay could not start
    │   ├── PortTakenError          something else listens on the port
    │   └── EmbeddedServerError     the embedded server could not start
    ├── ArchiveError            the archive cannot be used
    │   ├── ArchiveBusyError        another relay writes to it
    │   ├── ArchiveDamagedError     its database is damaged
    │   └── ArchiveTooNewError      a newer release wrote it
    ├── SourceError             upstream failed
    │   ├── SourceRefusedError      a server answered, and said no
    │   └── RecordingError          a file of recorded traffic cannot be read
    ├── MissingExtraError       an answer needs a library of an extra
    ├── CodeWormFileError       a file of CodeWorm's own cannot be read
    ├── OllamaError             Ollama was not reached, or did not answer as it does
    └── ConnectError            the notebook side could not reach a relay
        ├── RelayNotFoundError      no relay is known or none answers
        └── TokenRefusedError       the relay wants another token

Each says what is wrong and what to do about it.
"""

from __future__ import annotations

from os import PathLike

__all__ = [
    "ArchiveBusyError",
    "ArchiveDamagedError",
    "ArchiveError",
    "ArchiveTooNewError",
    "CodeWormFileError",
    "ConnectError",
    "EmbeddedServerError",
    "FrameError",
    "MissingExtraError",
    "MonitorError",
    "OllamaError",
    "PortTakenError",
    "RecordingError",
    "RelayError",
    "RelayNotFoundError",
    "SettingError",
    "SourceError",
    "SourceRefusedError",
    "TokenRefusedError",
]


class MonitorError(Exception):
    """Base of all errors of this package."""


class SettingError(MonitorError):
    """A setting has a value that cannot be used.

    Attributes:
        name: The setting, as the option spells it.
        problem: What is wrong with its value, and what would be right.
    """

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        self.problem = problem
        super().__init__(f"{name}: {problem}")


class FrameError(MonitorError):
    """A frame breaks the protocol: not JSON, of an unknown type, or with a field out of range."""


class RelayError(MonitorError):
    """The relay could not start."""


class PortTakenError(RelayError):
    """Something else listens on the address the relay was given.

    Attributes:
        host: Address asked for.
        port: Port asked for.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        super().__init__(
            f"port {port} on {host} is taken, perhaps by another relay: stop that one, or choose another with --port"
        )


class EmbeddedServerError(RelayError):
    """The embedded server could not be found or did not come up."""


class ArchiveError(MonitorError):
    """The archive cannot be opened, read or written."""


class ArchiveBusyError(ArchiveError):
    """Another relay writes to the archive.

    Attributes:
        directory: The archive.
    """

    def __init__(self, directory: PathLike[str] | str, holder: str = "") -> None:
        self.directory = directory
        super().__init__(
            f"another relay{holder and f' ({holder})'} writes to the archive {directory}: "
            "stop that one, or choose another directory with --archive; a relay also runs without one (--no-archive)"
        )


class ArchiveDamagedError(ArchiveError):
    """The archive's database is damaged, or is no database.

    Attributes:
        path: The file.
    """

    def __init__(self, path: PathLike[str] | str, reason: str) -> None:
        self.path = path
        super().__init__(
            f"{path} is damaged ({reason}): `python -m codeworm_monitor archive repair` saves what can be read"
        )


class ArchiveTooNewError(ArchiveError):
    """A newer release of this package wrote the archive.

    Attributes:
        path: The file.
        version: Version of its form.
    """

    def __init__(self, path: PathLike[str] | str, version: int, known: int) -> None:
        self.path = path
        self.version = version
        super().__init__(
            f"{path} was written by a newer release (form {version}, this one knows {known}): update codeworm_monitor, "
            "or choose another directory with --archive"
        )


class SourceError(MonitorError):
    """Upstream failed: the connection is lost, silent, or was never made."""


class SourceRefusedError(SourceError):
    """A server answered and refused: a wrong password, a forbidden channel, too many clients."""


class RecordingError(SourceError):
    """A file of recorded traffic is missing or holds something else."""


class MissingExtraError(MonitorError):
    """A library is missing that only some answers need.

    Attributes:
        library: Its name.
        extra: The extra of this package that brings it.
    """

    def __init__(self, library: str, extra: str) -> None:
        self.library = library
        self.extra = extra
        super().__init__(f"this needs {library}: pip install 'codeworm-monitor[{extra}]'")


class CodeWormFileError(MonitorError):
    """A file of CodeWorm's own, its database or its configuration, is unknown, missing, or cannot be read."""


class OllamaError(MonitorError):
    """Ollama was not reached, or what answers at its URL is not Ollama.

    Attributes:
        url: Where it was looked for.
        reason: What went wrong, in few words.
    """

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"Ollama at {url}: {reason}")


class ConnectError(MonitorError):
    """The notebook side could not reach a relay."""


class RelayNotFoundError(ConnectError):
    """No relay is known on this machine, or none answers at the URL."""


class TokenRefusedError(ConnectError):
    """The relay answered and refused the token."""
