"""
The rules' SQL in order: what a batch does, step by step, and what is read for people. One for every database.

A step makes bindings, runs named statements through `tx.Tx`, and reads their rows. What a database says in its own way
stands in ``store/sql/<database>/``; how to talk to it, in its driver. Neither is known here.
"""
