"""Rows → weights: one training, from token rows to adapter, snapshots and log."""
