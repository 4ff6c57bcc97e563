"""What has to hold within a complete run: of its manifest, and of its files beside each other."""
