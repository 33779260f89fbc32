"""The store on PostgreSQL: how to talk to its server, nothing else."""
