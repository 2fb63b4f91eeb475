"""Consoles: controls, a live figure, a table, a line, YAML to copy.  How the next one is made:

1. A plain function has what the console shows.  It is told the settings (an attribute a control) and how many
   replications it may take, and is tested without a browser:

       def work(s: Settings, replications: int) -> Result:
           mesh = experiment.mesh().apply(timeout(s.timeout))
           replay = mesh.fortio_load(replications=replications, seed=s.seed)
           return Result(
               figure=lambda width: plots.survival(replay, at=s.timeout, width=width),   # inches: 3.9 on a phone, up to 10
               status=f"{share:.1%} of the calls fail, and the slowest answer takes {slowest:.2f} s",   # one sentence: the finding
               table=table(("figure", "recorded", "model"), rows, no=[2]),       # HTML; rows that say NO are marked
               yaml=yaml_of(timeout(s.timeout)),                                 # what `kubectl apply -f` would take
           )

2. A function makes the console; its controls, presets and the tutorial's values are data:

       def cut_the_tail() -> Console:
           return Console("Cut the tail", [
               Slider("timeout", "timeout", 0.5, least=0.1, most=2, step=0.05, unit="s"),
               Choice("policy", "load balancing", "LEAST_REQUEST", POLICIES),
               Toggle("labels", "labels of localities", False),
           ], work, presets={"no timeout": {"timeout": 2}}, tutorial={"timeout": 0.5})

3. A chapter shows it by `cut_the_tail()` as the last line of a cell, and moves it by `console.set(timeout=0.2)`, which
   waits, raises what went wrong, and returns the `Result`.  Without a front end there are the figure and its text.

What the kit does: a move is drawn coarse at once (`COARSE` replications) and fine as soon as the controls rest (`FINE`);
a move that a later one overtakes is dropped; where the function ignores `replications`, say `replications=None` and
it is called once a move.  What takes long (a real Envoy) is an `Action`, in a thread of its own, with progress and cancel.
A ValueError becomes one line in the console, and so does anything else, with its type's name.  A move should take
less than 100 ms: draw with `plots.bare_picture` and collections, in one Axes; a full set of matplotlib's own ticks costs 30 ms.
Two figures side by side are one `Picture` with two parts, one above the other below some 5 inches.
"""

from meshmodel.teaching.consoles.console import COARSE, FINE, Console
from meshmodel.teaching.consoles.controls import Action, Choice, Result, Settings, Slider, Text, Toggle, yaml_of
from meshmodel.teaching.consoles.tables import table

__all__ = ["COARSE", "FINE", "Action", "Choice", "Console", "Result", "Settings", "Slider", "Text", "Toggle", "table", "yaml_of"]
