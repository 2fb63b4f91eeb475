"""What Envoy decides, one small function a rule, one file a chapter.

A rule is a plain function of numbers; a notebook calls it as it stands, and the event loop compiles it in.
Where a rule remembers something (a host's failures in a row), it reads and writes the fields of what it is
given, by their names: a record of the loop's state, or any object that has them.
"""

from meshmodel.rules import balancing, breakers, ejection, locality, outcomes, retries, timeouts

__all__ = ["balancing", "breakers", "ejection", "locality", "outcomes", "retries", "timeouts"]
