"""Stand-ins for tests and examples, without a model and without a disk: a service that echoes, stores in memory.

app = create_app(**stand_ins(service=EchoService(), keys=NoKeys(), settings=ApiSettings(name="pequod")))
"""

from lamina.testing.answers import Answer
from lamina.testing.services import EchoService
from lamina.testing.stores import FixedRetriever, MemoryJobs, MemoryLineage, MemoryReleases, MemoryStore, stand_ins

__all__ = [
    "Answer",
    "EchoService",
    "FixedRetriever",
    "MemoryJobs",
    "MemoryLineage",
    "MemoryReleases",
    "MemoryStore",
    "stand_ins",
]
