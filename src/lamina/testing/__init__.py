"""Stand-ins for tests and examples, without a model and without a disk: a service that echoes, stores in memory.

app = create_app(service=EchoService(), store=MemoryStore(), releases=MemoryReleases(), …)
"""

from lamina.testing.answers import Answer
from lamina.testing.services import EchoService
from lamina.testing.stores import FixedRetriever, MemoryJobs, MemoryLineage, MemoryReleases, MemoryStore

__all__ = ["Answer", "EchoService", "FixedRetriever", "MemoryJobs", "MemoryLineage", "MemoryReleases", "MemoryStore"]
