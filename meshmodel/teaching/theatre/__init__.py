"""The theatre: requests as dots on their way from the load through the proxies to the pods and back.

Python says what moves when (`visits`, `moves`, `events`) and packs it as bytes (`packing`);
the scripts in `js/` draw it as a pure function of the clock, so that play, step and scrub are
one thing.  `still` is the same for paper.
"""

from meshmodel.teaching.theatre.widget import Theatre, theatre

__all__ = ["Theatre", "theatre"]
