"""The store on SQLite, through apsw: one writer thread, one file, WAL."""
