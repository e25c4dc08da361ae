"""What leaves the project: model cards and uploads."""
