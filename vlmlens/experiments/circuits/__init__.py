"""Which head, MLP or token writes what another reads: nodes, their writes, paths between."""
