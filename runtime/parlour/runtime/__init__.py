"""What every running part stands on: threads and locks made in one way, questions to a broker, shared options.

It imports `wire` alone; every part but `wire` may import it.
"""

__all__: list[str] = []
