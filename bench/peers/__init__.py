"""
Programs that put messages through other queues, each run in an environment that has nothing but that queue.

Each is called with a new folder, a number of messages and a mode, does as many whole lives, and prints one line of
JSON: ``seconds`` for all of them, what was ``done``, and the ``version`` that did it. What it takes to start, and to
make the file, is not counted.
"""
