"""Every error rfgraph raises on purpose: one class per situation, all under ``RFGraphError``."""

from __future__ import annotations


class RFGraphError(Exception):
    """Base of all errors that rfgraph raises on purpose.

    Examples
    --------
    >>> import rfgraph
    >>> try:
    ...     rfgraph.analyze("zoo:resnet_v9")
    ... except rfgraph.RFGraphError as error:
    ...     print(type(error).__name__)
    ModelFileError
    """


class GraphError(RFGraphError):
    """The graph is not a network: a cycle, a missing input, a dangling node, bad slots."""


class CycleError(GraphError):
    """The graph has a cycle; its nodes are named in order."""


class AttributeValueError(GraphError):
    """An attribute of a node is missing, misspelt, of the wrong shape or out of range."""


class UnknownOpError(GraphError):
    """The op of a node is not one that rfgraph knows."""


class UnknownNodeError(RFGraphError, KeyError):
    """No node has that name; the message lists what is near."""

    def __str__(self) -> str:  # KeyError shows the repr of its argument
        return str(self.args[0]) if self.args else ""


class EndpointError(RFGraphError):
    """One input or output is needed and there are none or several; they are listed."""


class SizeError(RFGraphError):
    """The sizes of the feature maps cannot work: maps that differ at a merge, or an empty map."""


class FieldError(RFGraphError):
    """A receptive field was asked for a number it does not have."""


class UnboundedError(FieldError):
    """The field is ``FULL``: it reads the whole axis, whatever its size."""


class UnknownFieldError(FieldError):
    """The field is not known; the message says why and since which node."""


class TilingError(RFGraphError):
    """A plan of tiles cannot be made or carried out as asked; the message says what would do."""


class LatencyError(RFGraphError):
    """A network cannot be streamed as asked; the message says why, or what would do."""


class PolicyError(RFGraphError):
    """What findings to look at or to accept cannot be read, as options or in pyproject.toml."""


class SweepError(RFGraphError):
    """A sweep cannot be done as asked: its results would not fit into memory, or a folder holds another one."""


class ExpressionError(SweepError):
    """A condition or cost of a sweep cannot be read, or asks for what is not there."""


class ModelFileError(RFGraphError):
    """A model cannot be read: not found, truncated, of another format, or hostile."""


class MissingExtraError(RFGraphError, ImportError):
    """An optional package is needed; the message gives the command that installs it."""


class Needed:
    """Where an optional package is imported within: if it is missing, what needs it is said, and how to install it.

    Another package that it lacks is an error of its own.
    """

    def __init__(self, package: str, what: str, install: str = "") -> None:
        self.package, self.what, self.install = package, what, install or package

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, ModuleNotFoundError) or not error.name:
            return
        missing, package = f"{error.name}.", f"{self.package}."
        if package.startswith(missing) or missing.startswith(package):
            needed = self.package.rpartition(".")[2]
            raise MissingExtraError(f"{self.what} needs {needed}: pip install {self.install}") from error


class ColumnError(RFGraphError):
    """A table has no column of that name; those that it has are listed."""
