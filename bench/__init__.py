"""
Measurements: how fast pillarbox is, beside its peers and beside what the machine allows. One file a question.

::

    make bench                                          all of them; sets up what it needs, prints one table
    make bench ARGS="lives latency"                     some of them
    make bench ARGS="--quick"                           smaller and shorter: whether it runs, not how fast it is
    make bench ARGS="claim --full"                      larger: a million waiting where the default has 100 000
    make bench ARGS="--page docs/explanation/speed.md"  write the table into the page that shows it
    make bench ARGS="--json bench/results/all.json"     write every sample

A machine is noisy, so a figure is a ratio: to a peer, to the raw database, or to a smaller case of the same thing.
Both sides are measured alternately in one run, at least five times, and the median of the rounds' ratios counts. A p99
is one of all the rounds' samples. Everything is at durability ``power`` with what is on by default, unless its note
says otherwise. Databases are made in ``--directory`` (default: ``bench/results``) and removed; it must be a real disk,
because on a file system in memory an fsync costs nothing.

What lives here:

* ``bench/NAME.py``: one question; its docstring says what is measured, ``measure(plan)`` gives the figures.
* ``bench/harness/``: figures and goals, tables, the raw database, filling a database, starting processes.
* ``bench/programs/``: the processes that measurements start: workers, senders, a receiver.

Nothing here is a test: a goal that is missed is shown, and the exit code is 0 all the same. ``--strict`` makes it 1.
"""
