"""The base of every running part: threads and locks made in one way, requests to a broker, shared options.

It imports only `wire`; every part except `wire` may import it.
"""

__all__: list[str] = []
