"""What every measurement uses: figures, plans, tables, the raw database, processes."""
