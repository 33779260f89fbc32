"""
Measurements: how fast pillarbox is, beside its peers and beside what the machine allows. One file a question.

::

    make bench                                          all of them; sets up what it needs, prints one table
    make bench ARGS="lives latency"                     some of them
    make bench-quick                                    the main ratios in two minutes, roughly
    make bench ARGS=postgres                            on a PostgreSQL server, which it brings along
    make bench ARGS="postgres_depth --full"             the same with ten million waiting, and four workers
    make bench ARGS="steady --full"                     as large as the goals say, however long that takes
    make bench ARGS="--page docs/explanation/speed.md"  write the table into the page that shows it, and draw its plots
    make bench ARGS="--json bench/results/all.json"     write every sample
    make bench ARGS="--plots bench/results"             draw the plots there

A machine is noisy, so a figure is a ratio: to a peer, to the raw database, or to a smaller case of the same thing. Both
sides are measured alternately in one run, at least five times, and the median of the rounds' ratios counts. A p99 is
one of all the rounds' samples. Each question has a process of its own. Everything is at durability ``power`` with what
is on by default, unless its note says otherwise. Databases are made in ``--directory`` (default: ``bench/results``) and
removed; it must be a real disk, because on a file system in memory an fsync costs nothing. Peers and other Pythons are
installed into a cache outside of this tree (``--cache``) when they are first needed; what cannot be installed is named
in the table with the reason.

What lives here:

* ``bench/NAME.py``: one question; its docstring says what is measured, ``measure(plan)`` gives the figures.
* ``bench/harness/``: figures and goals, tables, plots, the raw database, filling a database, starting processes,
  installing peers.
* ``bench/programs/``: the processes that measurements start: workers, senders, a receiver.
* ``bench/peers/``: the programs that put messages through other queues, each in an environment of its own.
* ``bench/neutral/``: what the harness of another project starts, to measure us beside others by its own rules.

Nothing here is a test: a goal that is missed is shown, and the exit code is 0 all the same. ``--strict`` makes it 1.
"""
