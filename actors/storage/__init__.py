"""Where rows become durable: SQLite, sealed and erased."""
