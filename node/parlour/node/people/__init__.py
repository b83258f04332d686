"""People at a node: who somebody is, and which names are in use here.

Modules of this package turn a hello or a SASL exchange into a Person, before the session knows any room. They stand on
the directory and the settings alone, and must never know a connection or a room.
"""

__all__: list[str] = []
