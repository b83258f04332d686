"""How bytes become wire messages and back: one module for each dialect that a node's port understands.

Pure: no socket, no thread, no clock. Only nodes import this part; it imports the wire alone.
"""

from parlour.dialects.dialect import Dialect, Encoding, Variant
from parlour.dialects.frames import FramesDialect
from parlour.dialects.jsonlines import JSON
from parlour.dialects.recognition import recognise

__all__ = ["JSON", "Dialect", "Encoding", "FramesDialect", "Variant", "recognise"]
