"""Deployment: files by which a relay runs for good, filled in from templates."""
