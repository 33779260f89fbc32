"""Ways out. One file an adapter; no retries, no sleeps and no store in any of them."""
