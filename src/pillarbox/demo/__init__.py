"""The demonstration: real messages, a real receiver, a worker that is killed on purpose, and a wary judge."""
