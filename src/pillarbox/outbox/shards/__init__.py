"""
An outbox on several databases, among which tenants are divided: above outboxes on one, which know nothing of it.

Each part here stands in the place of the part whose name it has, and asks those of the shards. No rule about messages
is here, and nothing is stored here.
"""
