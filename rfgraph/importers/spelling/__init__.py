"""What formats share in spelling their ops with primitives: the registry of handlers, and common operations.

This room knows the tensor program; it knows no single format.
"""

from rfgraph.importers.spelling.arguments import axes_of as axes_of
from rfgraph.importers.spelling.arguments import axis_of as axis_of
from rfgraph.importers.spelling.arguments import per_axis as per_axis
from rfgraph.importers.spelling.arguments import rank_of as rank_of
from rfgraph.importers.spelling.arguments import shape_of as shape_of
from rfgraph.importers.spelling.arguments import whole_number as whole_number
from rfgraph.importers.spelling.handlers import EVERY as EVERY
from rfgraph.importers.spelling.handlers import Handlers as Handlers
from rfgraph.importers.spelling.handlers import UnspelledError as UnspelledError
from rfgraph.importers.spelling.handlers import by_op as by_op
from rfgraph.importers.spelling.node import Call as Call
from rfgraph.importers.spelling.node import Named as Named
from rfgraph.importers.spelling.node import Node as Node
from rfgraph.importers.spelling.reader import MALFORMED as MALFORMED
from rfgraph.importers.spelling.reader import Reader as Reader
